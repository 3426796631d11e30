"""Progress as log lines."""

from __future__ import annotations

import re

import pytest

from rstar_core.progress import Progress, say_kept, speed


def test_a_line_has_share_rate_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    Progress("grade", 40, "answers", every=0).advance(10)
    assert re.fullmatch(r"grade: 10/40 \(25 %\), [\d.]+ answers/s, ETA \d+ s\n", capsys.readouterr().err)


def test_where_nobody_knows_the_total_there_is_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    Progress("a.csv", None, "rows", every=0).advance(3)
    assert re.fullmatch(r"a\.csv: 3, [\d.]+ rows/s\n", capsys.readouterr().err)


def test_a_slow_rate_is_seconds_for_each_one() -> None:
    assert (speed(3.14, "trees"), speed(0.04, "trees"), speed(0.0, "trees")) == (
        "3.1 trees/s",
        "25.0 s/tree",
        "0.0 trees/s",
    )


def test_what_is_kept_is_told_where_there_is_anything(capsys: pytest.CaptureFixture[str]) -> None:
    say_kept("synthesize r1", 0)
    say_kept("synthesize r1", 26)
    assert capsys.readouterr().err == "synthesize r1: going on from 26 finished trees\n"
