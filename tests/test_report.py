"""The report as JSON and as the lines of a table, and that nothing in it can steer a terminal."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from convtool.cli.terminal import printable, show_report
from convtool.report import SCHEMA, SECTIONS, Report, spelled


def strict(text: str) -> dict[str, Any]:
    """JSON as other languages read it: without NaN and Infinity."""

    def reject(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    found: dict[str, Any] = json.loads(text, parse_constant=reject)
    return found


def filled() -> Report:
    report = Report("deconvolve", "1.2.3")
    report.set("axes", "YXC", None, chosen=True)
    report.set("boundary", "periodic", "periodic", chosen=False)
    report.set("threads", 2, "auto", chosen=False)
    report.input = {"name": "a.png", "shape": (8, 3, 5), "note": None}
    report.result = {"relative_residual": 0.001234567, "stop": "done"}
    report.notes.append("trust it")
    return report


def test_the_head_names_schema_version_and_command() -> None:
    found = strict(filled().to_json())
    assert list(found) == ["schema", "convtool", "command", "settings", "input", "result", "notes"]
    assert found["schema"] == SCHEMA == 1
    assert (found["convtool"], found["command"]) == ("1.2.3", "deconvolve")
    assert found["notes"] == ["trust it"]


def test_an_empty_report_has_its_head_and_no_sections() -> None:
    found = strict(Report("plan", "0").to_json())
    assert found == {"schema": 1, "convtool": "0", "command": "plan", "settings": {}, "notes": []}
    assert Report("plan", "0").to_json().endswith("}\n")
    assert Report("plan", "0").rows() == []


def test_every_section_is_written_in_order() -> None:
    report = Report("x", "0")
    for i, section in enumerate(SECTIONS):
        setattr(report, section, {"value": i})
    found = strict(report.to_json())
    assert [key for key in found if key in SECTIONS] == list(SECTIONS)
    assert [found[section]["value"] for section in SECTIONS] == list(range(len(SECTIONS)))
    assert [label for label, _ in report.rows()] == list(SECTIONS)


def test_reports_do_not_share_what_they_hold() -> None:
    filled()
    assert Report("x", "0").notes == []
    assert Report("x", "0").settings == {}


def test_a_setting_says_whether_it_was_chosen() -> None:
    settings = strict(filled().to_json())["settings"]
    assert settings["axes"] == {"value": "YXC", "default": None, "source": "chosen"}
    assert settings["boundary"] == {"value": "periodic", "default": "periodic", "source": "assumed"}
    report = filled()
    report.set("axes", "CYX", None, chosen=False)
    assert strict(report.to_json())["settings"]["axes"] == {"value": "CYX", "default": None, "source": "assumed"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.inf, None),
        (-math.inf, None),
        (math.nan, None),
        (np.float32("inf"), None),
        (np.float64("nan"), None),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.uint8(255), 255),
        (np.bool_(True), True),
        (True, True),
        (None, None),
        ("µ", "µ"),
        ((1, 2), [1, 2]),
        (np.array([[1.5, np.nan], [2.0, np.inf]]), [[1.5, None], [2.0, None]]),
        (np.array(7), 7),
        (np.arange(3), [0, 1, 2]),
        ([np.int32(1), (np.float64("inf"), "a")], [1, [None, "a"]]),
        ({3: np.float64(2.0), "b": {"c": math.nan}}, {"3": 2.0, "b": {"c": None}}),
        (10**30, 10**30),
        (5e-324, 5e-324),
    ],
)
def test_values_become_what_json_can_hold(value: Any, expected: Any) -> None:
    report = Report("x", "0")
    report.result = {"value": value}
    report.set("it", value, value, chosen=True)
    text = report.to_json()
    found = strict(text)
    assert found["result"]["value"] == expected
    assert type(found["result"]["value"]) is type(expected)
    assert found["settings"]["it"] == {"value": expected, "default": expected, "source": "chosen"}


def test_text_is_kept_readable_in_json() -> None:
    report = Report("x", "0")
    report.notes = ['tick "µm"\nnext']
    assert "µm" in report.to_json()
    assert strict(report.to_json())["notes"] == report.notes


def test_rows_tell_sections_then_settings_by_source() -> None:
    assert filled().rows() == [
        ("input", "a.png: shape 8x3x5"),
        ("result", "relative residual 0.001235, stop done"),
        ("chosen", "axes YXC"),
        ("assumed", "boundary periodic, threads 2"),
    ]


def test_rows_leave_out_what_says_nothing() -> None:
    report = Report("x", "0")
    report.output = {"a": None, "b": "", "c": {}, "d": [], "e": 0, "f": False, "g": 0.0, "h": {"i": None}}
    report.output |= {"scale": 1, "offset": 0, "rounded": 0, "clipped_low": 0, "clipped_high": 0}
    assert report.rows() == [("output", "e 0, f no, g 0")]
    report.output = {"scale": 2, "offset": 0.5, "rounded": 7, "clipped_low": 1}
    assert report.rows() == [("output", "scale 2, offset 0.5, rounded 7, clipped low 1")]


def test_rows_put_a_source_beside_its_value_and_inner_values_in_line() -> None:
    report = Report("x", "0")
    report.result = {"weight": 0.25, "weight_source": "given", "options": {"weight": None, "a_b": 2}, "shape": [2, 3]}
    assert report.rows() == [("result", "weight 0.25 (given), a b 2, shape 2x3")]


def test_rows_count_what_a_table_has_no_room_for_and_take_arrays() -> None:
    report = Report("x", "0")
    report.result = {"bias": np.array([1.0, 2.5]), "all_errors": [0.5] * 17, "findings": [{"a": 1}, {"a": 2}]}
    report.result |= {"singular_values": [[1.0] * 9, [2.0] * 9], "empty": np.array([])}
    assert report.rows() == [("result", "bias 1,2.5, 17 all errors, 2 findings, 2 singular values")]


def test_a_value_that_cannot_be_shown_is_no_silence(capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("odd")

    report = Report("x", "0")
    report.result = {"odd": Odd()}
    with pytest.raises(ValueError, match="odd"):
        show_report(report, True)


def test_rows_show_the_reference_as_it_was_written() -> None:
    report = Report("x", "0")
    report.reference = {"name": "t.png", "psnr": 30.0, "relative": 0.5, "as_written": {"psnr": 29.0}}
    assert report.rows() == [("reference", "t.png: psnr 29, relative 0.5, measured as written")]
    assert strict(report.to_json())["reference"]["psnr"] == 30.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (3, "3"),
        (0.123456, "0.1235"),
        (1234567.0, "1.235e+06"),
        (1e-12, "1e-12"),
        (math.inf, "inf"),
        ((1, 2.0, "a"), "1,2,a"),
        ([[1, 2], [3]], "1,2,3"),
        (np.float64(0.123456), "0.1235"),
        ("word", "word"),
    ],
)
def test_values_as_a_table_shows_them(value: Any, text: str) -> None:
    assert spelled(value) == text


def test_shapes_are_spelled_as_shapes() -> None:
    assert spelled((8, 3, 5), is_shape=True) == "8x3x5"
    assert spelled((8, 3, 5)) == "8,3,5"


HOSTILE = "a\x1b[31mb\x07c\r\nd\te\x9bf\u202eg\x7f\x00\ud800"


def test_printable_text_cannot_steer_a_terminal() -> None:
    assert printable(HOSTILE).isprintable()
    assert printable(HOSTILE).startswith("a\\x1b[31mb\\x07c\\r\\nd\\te\\x9bf\\u202eg\\x7f\\x00")
    assert printable("σ = 2 µm, 図.png") == "σ = 2 µm, 図.png"
    assert printable("") == ""


@pytest.mark.parametrize("table", [True, False])
def test_a_report_on_a_pipe_is_plain_lines(capsys: pytest.CaptureFixture[str], table: bool) -> None:
    report = filled()
    report.input["name"] = HOSTILE
    report.notes.append(HOSTILE)
    show_report(report, table)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.split("\n")
    assert lines.pop() == ""
    assert lines[-2:] == ["convtool: note: trust it", f"convtool: note: {printable(HOSTILE)}"]
    assert len(lines) == (2 + len(report.rows()) if table else 2)
    assert all(line.isprintable() for line in lines)


def test_a_report_on_a_terminal_is_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    report = filled()
    report.input["name"] = "[bold]a.png" + HOSTILE[:8]
    show_report(report, table=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "[bold]a.png" in shown.err  # a file's name is no markup
    assert "\x1b[31m" not in shown.err
    assert "\x07" not in shown.err
    for label, _ in report.rows():
        assert label in shown.err
