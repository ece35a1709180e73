"""sRGB code values and linear light (IEC 61966-2-1:1999), for convolving light instead of its encoding.

    light = code / 12.92                       for code <= 0.04045
          = ((code + 0.055) / 1.055) ** 2.4    above

Negative values, which a sharpening kernel makes, are mirrored: light(-code) = -light(code).
"""

from __future__ import annotations

import numpy as np

from convtool.errors import SettingError


def decode_srgb(codes: np.ndarray) -> np.ndarray:
    """Linear light from sRGB codes, both 0..1, elementwise, in the floating dtype given.

    >>> decode_srgb(np.array([0.0, 0.5, 1.0])).round(4).tolist()
    [0.0, 0.214, 1.0]
    """
    size = np.abs(codes)
    light = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.copysign(light, codes).astype(codes.dtype, copy=False)


def encode_srgb(light: np.ndarray) -> np.ndarray:
    """sRGB codes from linear light: the inverse of `decode_srgb`, elementwise, also outside 0..1."""
    size = np.abs(light)
    codes = np.where(size <= 0.04045 / 12.92, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.copysign(codes, light).astype(light.dtype, copy=False)


def to_linear(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Linear light of code values 0..255 or 0..65535, on that same scale, for pixels stored as `dtype`.

    Integers come back as float32. Raises SettingError when `dtype` is not uint8 or uint16.
    """
    peak = _peak(dtype)
    floats = values if values.dtype.kind == "f" else values.astype(np.float32)
    return decode_srgb(floats / peak) * peak


def from_linear(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Code values from linear light on the same scale: the inverse of `to_linear`."""
    peak = _peak(dtype)
    return encode_srgb(values / peak) * peak


def _peak(dtype: np.dtype) -> int:
    if np.dtype(dtype) not in (np.uint8, np.uint16):
        raise SettingError(f"--linear needs 8- or 16-bit sRGB code values, got {np.dtype(dtype).name}: drop --linear")
    return int(np.iinfo(dtype).max)
