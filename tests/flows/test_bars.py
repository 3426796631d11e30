"""Bars on a terminal, read off the lines that stages log."""

from __future__ import annotations

import io
import logging

from rich.console import Console

from flows.bars import _columns, _InPlace


def said(stage: str | None, line: str) -> logging.LogRecord:
    record = logging.LogRecord("prefect.task_runs", logging.INFO, "", 0, line, None, None)
    if stage:
        record.task_run_name = stage
    return record


def test_progress_moves_a_bar_and_leaves_the_log_to_what_has_happened() -> None:
    screen = io.StringIO()
    with _columns(Console(file=screen, force_terminal=True, width=120)) as progress:
        bars = _InPlace(progress)
        lines = [
            (None, "Beginning flow run"),
            ("synthesize@r1", "stage 3 of 9"),
            ("bootstrap", "stage 4 of 9"),
            ("synthesize@r1", "synthesize r1: 30/120 (25 %), 3.0 trees/s, ETA 30 s"),
            ("bootstrap", "SFT: 5/50 (10 %), 9.0 steps/s, ETA 5 s, loss 0.500"),
            ("synthesize@r1", "synthesize r1: coverage 90 %; 40 s"),
            ("synthesize@r1", "Finished in state Completed()"),
        ]
        logged = [line for stage, line in lines if bars.filter(said(stage, line))]
        shown = {task.description: task for task in progress.tasks}
    assert logged == [line for _, line in lines if "%)" not in line]
    assert set(shown) == {"stages", "bootstrap"}, "the other has ended"
    assert (shown["stages"].completed, shown["stages"].total) == (3, 9)
    assert (shown["bootstrap"].completed, shown["bootstrap"].total) == (5, 50)
    assert shown["bootstrap"].fields["note"] == "SFT: 9.0 steps/s, ETA 5 s, loss 0.500"
