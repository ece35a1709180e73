"""The bench's harness: turns, medians, agreement, missing peers, verdicts, files. No speed is asserted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from bench import __main__ as program
from bench import (
    choice,
    cost,
    floors,
    machine,
    memory,
    plot,
    row,
    rows,
    rows_inverse,
    rows_iterative,
    rows_linear,
    rows_pooling,
    table,
    timing,
    worker,
)
from bench.outcome import Outcome, Timing, Verdict, as_json, from_json, judged
from bench.row import FLOOR, OURS, PEER, QUOTED, Contender, MissingError, Quote, Row, Target
from bench.timing import Spread


def constant(value: float) -> Callable[[Any], row.Call]:
    """A contender's `prepare` whose result is the data plus a value."""
    return lambda data: lambda: data + value


def work(*peers: Contender, **settings: Any) -> Row:
    """A row that adds nothing to four numbers."""
    usual: dict[str, Any] = {
        "name": "sums",
        "work": "add nothing",
        "data": lambda: np.array([1.0, 2.0, 3.0, 4.0]),
        "ours": constant(0.0),
        "tolerance": 1e-6,
    }
    return Row(peers=peers, **(usual | settings))


def timed(name: str, role: str, *seconds: float) -> Timing:
    return Timing(name, role, seconds)


# Turns and their arithmetic -------------------------------------------------------------------------------------------


def test_rounds_alternate_and_the_slow_sit_out() -> None:
    ran: list[str] = []
    calls = {name: partial(ran.append, name) for name in "abc"}
    seconds = timing.alternate(calls, {"a": 3, "b": 1, "c": 2})
    assert "".join(ran) == "abc" + "ca" + "a"
    assert {name: len(found) for name, found in seconds.items()} == {"a": 3, "b": 1, "c": 2}
    assert timing.order(["x", "y"], 0) == ["x", "y"]
    assert timing.order(["x", "y"], 1) == ["y", "x"]


def test_shares_follow_the_budget() -> None:
    assert timing.share(20, seconds=0.01, budget=10) == 20
    assert timing.share(20, seconds=1.0, budget=10) == 10
    assert timing.share(20, seconds=60.0, budget=10) == 3
    assert timing.share(1, seconds=60.0, budget=10) == 1


def test_medians_and_quartiles() -> None:
    assert timing.spread([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3, 2, 4)
    assert timing.spread([1.0, 2.0]) == Spread(1.5, 1.25, 1.75)
    assert timing.spread([7.0]) == Spread(7, 7, 7)


def test_ratios_are_of_the_same_round() -> None:
    """A round that is ten times slower for both leaves no trace."""
    assert timing.ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2, 2, 2)
    assert timing.ratios([2.0, 4.0, 6.0], [1.0]).median == 2  # of the rounds of both


# Agreement ------------------------------------------------------------------------------------------------------------


def test_differences() -> None:
    x = np.array([[1.0, 2.0], [4.0, 8.0]])
    assert row.relative(x, x) == 0
    assert row.relative(x + 0.8, x) == pytest.approx(0.1)
    assert row.relative(x, x[:1]) == float("inf")
    ours = np.zeros((5, 6))
    theirs = ours + 1
    ours[1:-1, 1:-1] = 1
    assert row.relative(ours, theirs) == 1
    assert row.inside(1)(ours, theirs) == 0
    ours[2, 2] = 0
    assert row.inside(1)(ours, theirs) == 1


@pytest.mark.parametrize("wrong", [0.1, -0.1, np.nan, np.inf])
def test_another_result_does_not_count(wrong: float) -> None:
    outcome = worker.measured(
        work(
            Contender("right", constant(1e-9)),
            Contender("wrong", constant(wrong)),
            targets=(Target(1, "wrong", ("wrong",)), Target(1, "everybody")),
        ),
        rounds=2,
        budget=1,
    )
    assert [t.name for t in outcome.disagreements] == ["wrong"]
    assert [t.name for t in outcome.of(PEER)] == ["right"]
    assert outcome.verdicts[0].value is None
    assert outcome.verdicts[1].against == "right"
    assert "DISAGREES" in table.details(outcome)
    assert len(outcome.ours.seconds) == 2 if outcome.ours else False


def test_a_contender_may_have_a_tolerance_of_its_own() -> None:
    outcome = worker.measured(work(Contender("coarse", constant(0.1), tolerance=0.05)), rounds=1, budget=1)
    assert not outcome.disagreements
    assert outcome.of(PEER)[0].difference == pytest.approx(0.1 / 4.1)


def test_a_disagreement_is_the_exit_status_and_files_can_be_shown_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(wrong: float, *words: str) -> int:
        chosen = work(Contender("peer", constant(wrong)))
        monkeypatch.setattr(rows, "every", lambda: {"sums": chosen})
        monkeypatch.setattr(worker, "in_process", lambda r, *_: worker.measured(r, 1, 1.0))
        monkeypatch.setattr(sys, "argv", ["bench", "--rows", "sums", *words])
        return program.main()

    file = tmp_path / "results.json"
    assert run(0.0, "--json", str(file)) == 0
    printed = capsys.readouterr().out
    assert "| sums | add nothing |" in printed
    assert run(0.0, "--show", str(file)) == 0
    assert capsys.readouterr().out.strip() == printed[printed.index("| row") :].strip()
    assert run(0.5) == 1


# Who is missing -------------------------------------------------------------------------------------------------------


def broken(data: Any) -> row.Call:
    raise MissingError("no such thing yet")


def failing(data: Any) -> row.Call:
    def call() -> None:
        raise ZeroDivisionError("by nothing")

    return call


def test_who_is_missing_is_a_line_that_says_so() -> None:
    outcome = worker.measured(
        work(
            Contender("module", constant(0), needs=("no_such_module",)),
            Contender("command", constant(0), needs=("command:no-such-command",)),
            Contender("plan", broken),
            Contender("accident", failing),
            Contender("here", constant(0)),
            targets=(Target(1, "the module", ("module",)), Target(2, "an extra", ("here",), needs=("no_such_module",))),
        ),
        rounds=2,
        budget=1,
    )
    assert {t.name: t.missing for t in outcome.timings} == {
        OURS: None,
        "module": "no_such_module is not installed",
        "command": "no-such-command is not installed",
        "plan": "no such thing yet",
        "accident": "ZeroDivisionError: by nothing",
        "here": None,
    }
    assert [table.reached(v) for v in outcome.verdicts] == [
        "not measured: nobody to compare with",
        "not measured: no_such_module is not installed",
    ]
    assert "no such thing yet" in table.details(outcome)


def test_a_row_without_convtool_says_why_and_measures_nobody() -> None:
    outcome = worker.measured(
        work(Contender("here", constant(0)), ours=broken, targets=(Target(1, "it", ("here",)),)), rounds=1, budget=1
    )
    assert outcome.ours is None
    assert outcome.first is None
    assert [t.name for t in outcome.timings] == [OURS]
    assert table.line(outcome)[2:5] == ["no such thing yet", "–", "–"]
    assert outcome.verdicts[0].why == "no such thing yet"


def test_names_of_packages_and_stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert machine.absent(("cv2",)) == "opencv-python-headless is not installed"
    stand_in = tmp_path / "convert"
    stand_in.write_text("#!/bin/sh\necho ImageMagick\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    machine.imagemagick.cache_clear()
    assert machine.imagemagick() is None
    machine.imagemagick.cache_clear()


# Verdicts -------------------------------------------------------------------------------------------------------------


def test_verdicts_are_against_the_fastest_of_those_named() -> None:
    timings = (
        timed(OURS, OURS, 4.0, 4.0, 4.0),
        timed("slow", PEER, 8.0, 8.0, 8.0),
        timed("fast", PEER, 1.0, 2.0, 4.0),
        timed("wide", FLOOR, 2.0, 2.0, 2.0),
        timed("bare", FLOOR, 1.0, 1.0, 1.0),
        Timing("theirs (quoted)", QUOTED, (16.0, 16.0, 16.0), source="elsewhere"),
    )
    targets = (
        Target(1, "slow", ("slow",), limit="nothing"),
        Target(1, "everybody", limit="its " + 40 * "very " + "slow memory"),
        Target(1, "others", but=("fast",)),
        Target(4, "bare", (FLOOR,)),
        Target(0.2, "theirs", ("theirs (quoted)",)),
    )
    outcome = judged(work(targets=targets), Outcome("sums", "", timings=timings), lambda needs: "")
    assert [v.against for v in outcome.verdicts] == ["slow", "fast", "slow", "bare", "theirs (quoted)"]
    assert [v.value and v.value.median for v in outcome.verdicts] == [0.5, 2.0, 0.5, 4.0, 0.25]
    assert [v.reached for v in outcome.verdicts] == [True, False, True, True, False]
    assert table.line(outcome)[3:7] == ["fast 2,000", "2 [1.5–3]", "bare 1,000", "4 [4–4]"]
    told = table.details(outcome)
    assert "nothing" not in told  # bounds what was reached
    assert "≤ 1 × everybody: no: 2\n    its very very" in told
    assert max(map(len, told.splitlines())) <= 120


def test_times_count_for_floors_and_batches_and_quotes_stand_beside() -> None:
    outcome = worker.measured(
        work(floors=(Contender("bare", constant(0), times=1e6),), times=1e3, quotes=(Quote("they", 16.9, "a paper"),)),
        rounds=3,
        budget=1,
    )
    assert outcome.ours
    assert outcome.of(FLOOR)[0].median > outcome.ours.median  # a million calls against a thousand
    assert [(t.name, t.seconds, t.source) for t in outcome.of(QUOTED)] == [("they (quoted)", (16.9,) * 3, "a paper")]
    assert "not measured here: a paper" in table.details(outcome)


# Files ----------------------------------------------------------------------------------------------------------------


def test_outcomes_survive_a_file() -> None:
    outcome = worker.measured(
        work(
            Contender("here", constant(0)),
            Contender("gone", constant(0), needs=("no_such_module",)),
            targets=(Target(1, "here", ("here",)), Target(1, "gone", ("gone",))),
            figures=lambda data, result: {"sum": float(result.sum())},
            quotes=(Quote("they", 1.0, "a paper"),),
        ),
        rounds=2,
        budget=1,
        regime="warm",
    )
    outcome = replace(outcome, planning=2.5)
    assert from_json(json.loads(json.dumps(as_json(outcome)))) == outcome
    assert outcome.figures == {"sum": 10.0}
    assert table.line(outcome)[0] == "sums warm"
    assert table.line(outcome)[7].endswith("after 2.5 s of planning")


def test_a_plot_is_svg_with_every_point(tmp_path: Path) -> None:
    point = partial(cost.Point, seconds=1.0, transforms=0.5, bytes_a_pixel=12.0)
    studies = {
        "cold": [point(256, multiple=Spread(3.0, 2, 4)), point(1024, multiple=Spread(2.0, 2, 2))],
        "warm": [point(256, multiple=Spread(1.5, 1, 2), bytes_a_pixel=None)],
    }
    drawn = ElementTree.fromstring(plot.svg(studies))
    circles = [element for element in drawn.iter() if element.tag.endswith("circle")]
    assert len(circles) == 5
    heights = [float(c.get("cy", "nan")) for c in circles[:2]]
    assert heights[0] < heights[1]  # 3 lies above 2
    assert ElementTree.fromstring(plot.svg({"cold": []})) is not None
    assert "| 1024² | 1,000" in table.points(studies["cold"])


def test_arguments_are_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in [
        (["--rows", "no-such-row"], "no row is named no-such-row"),
        (["--plot", "a.png"], "say a.svg"),
        (["--rows", "pinv", "--plot", "a.svg"], "add it to --rows"),
        (["--rounds", "0"], "at least 1"),
        (["--regimes", "cold,tepid"], "unknown regime tepid"),
    ]:
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit):
            program.arguments()
        assert message in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["bench", "--rows", "small-*,pinv"])
    assert program.arguments().names == ["small-3", "small-5", "small-7", "small-11", "pinv"]


# The rows themselves --------------------------------------------------------------------------------------------------


def test_every_row_has_a_name_a_floor_and_targets_that_name_its_contenders() -> None:
    every = rows.every()
    assert len(every) == sum(len(subject.ROWS) for subject in rows._SUBJECTS)
    assert len(set(program.names())) == len(program.names())
    for name, found in every.items():
        known = {c.name for c in found.peers} | {FLOOR} | {f"{q.name} (quoted)" for q in found.quotes}
        assert found.floors, name
        assert found.targets, name
        for target in found.targets:
            assert {*target.of, *target.but} <= known, name


def small_rows() -> list[Row]:
    """Rows at sizes that take no time, with the peers that the tests' extra brings."""
    linear = rows_linear.small(5)
    return [
        replace(linear, data=partial(rows_linear.image, (40, 50), 5)),
        replace(rows_linear.separable(), data=partial(rows_linear.gaussian, (70, 80), 31, 5.0)),
        replace(rows_linear.periodic(31), data=partial(rows_linear.image, (90, 80), 31)),
        replace(rows_pooling.maxpool(4), data=partial(rows_pooling.noise, (2, 11, 12, 3))),
        replace(rows_pooling.edges(), data=partial(rows_pooling.noise, (2, 3, 8, 9))),
        replace(rows_inverse.batched_pinv(50, 2, 4)),
        replace(rows_inverse.regularised("tikhonov", weight=0.01)),
        rows_iterative.plain((16, 40, 40), (3, 5, 5), (0.6, 0.9, 0.9), 3),
    ]


@pytest.mark.parametrize("chosen", small_rows(), ids=lambda chosen: chosen.name)
def test_peers_that_are_here_agree(chosen: Row) -> None:
    """Without torch, which takes seconds to load, and commands, which are not in any extra."""
    slow = ("torch", "command:vips", "command:ImageMagick")
    everyone = tuple(p for p in chosen.peers if not {*p.needs} & {*slow} and not machine.absent(p.needs))
    if not everyone:
        pytest.skip("none of its peers is installed")
    outcome = worker.measured(replace(chosen, peers=everyone, floors=()), rounds=1, budget=0.1)
    assert outcome.ours
    assert not outcome.disagreements, table.details(outcome)
    assert outcome.of(PEER)


@pytest.mark.parametrize("floor", floors.transforms((6, 8, 10), axes=(-2, -1))[:2], ids=lambda floor: floor.name)
def test_floors_run(floor: Contender) -> None:
    call = floor.prepare(None)
    for _ in range(3):
        call()


def test_memory_above_the_interpreter() -> None:
    """Twice the image, for the result is one too; and no more than a few."""
    side = 1024
    taken = memory.peak("memory-convolve-5", side, threads=1) / (4 * side * side)
    assert 1 < taken < 30


def test_the_worst_choice_is_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times too slow at one place, equal elsewhere."""

    def measured(of: Row, *_: object) -> Outcome:
        ours = 3.0 if of.name == "choice:256:9" else 1.0
        return Outcome(of.name, "", timings=(timed(OURS, OURS, ours), timed("a", PEER, 2.0), timed("b", PEER, 1.0)))

    monkeypatch.setattr(worker, "in_process", measured)
    outcome = choice.outcome(threads=1, rounds=1, budget=1)
    assert outcome.verdicts[0].against == "256², k = 9: over b"
    assert outcome.verdicts[0].value == Spread(3, 3, 3)
    assert outcome.shown == "× 1 of the best, × 3 at worst"
    assert rows.named("choice:64:5").work == "convolve 64², k = 5"
    assert choice.engines()


def test_verdicts_of_the_cost_study() -> None:
    found = [
        cost.Point(256, 2.0, 1.0, Spread(2.0, 2, 2), None),
        cost.Point(1024, 5.0, 2.0, Spread(2.5, 2, 3), 12.0),
        cost.Point(2048, 9.0, 4.5, Spread(2.0, 2, 2), 24.0),
    ]
    outcome = cost._summed("work", "cold", found)
    assert outcome.shown == "× 2 … 2.5"
    assert [(v.value and v.value.median, v.reached) for v in outcome.verdicts] == [(1.25, True), (2.0, False)]
    assert outcome.figures["bytes a pixel 2048"] == 24
    assert list(cost.sides(1024)) == [256, 512, 1024]
    assert isinstance(outcome.verdicts[0], Verdict)
