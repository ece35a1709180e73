"""The pins of `make oldest` are the lower bounds of pyproject.toml, all of them."""

from __future__ import annotations

import tomllib

import oldest
import pytest

PROJECT = {
    "name": "this",
    "dependencies": ["numpy>=2.0", "image-io[tiff,png]>=2.36.1"],
    "optional-dependencies": {"a": ["x>=1"], "b": ["this[a,c]", "y==2.5"], "c": ["z_z>=3"], "d": ["unbounded"]},
}


def test_bounds_become_pins() -> None:
    assert oldest.pins(PROJECT, []) == ["numpy==2.0", "image-io[tiff,png]==2.36.1"]
    assert oldest.pins(PROJECT, ["b"])[2:] == ["x==1", "z_z==3", "y==2.5"]


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy>=2,<3", "numpy~=2.0", "numpy @ somewhere"])
def test_what_has_no_lowest_version_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="names no lowest version"):
        oldest.pins({**PROJECT, "dependencies": [requirement]}, [])


def test_every_dependency_here_has_one() -> None:
    project = tomllib.loads(oldest.PROJECT.read_text())["project"]
    assert len(oldest.pins(project, list(project["optional-dependencies"]))) > len(project["dependencies"]) >= 8
