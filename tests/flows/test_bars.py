"""Bars on a terminal, read off the lines that stages log."""

from __future__ import annotations

import io
import logging
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

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
            ("synthesize@r1", "sandbox: namespaces"),
            ("bootstrap", "stage 4 of 9"),
            ("bootstrap", "sandbox: namespaces"),
            ("synthesize@r1", "synthesize r1: 30/120 (25 %), 3.0 trees/s, ETA 30 s"),
            ("bootstrap", "SFT: 5/50 (10 %), 9.0 steps/s, ETA 5 s, loss 0.500"),
            ("synthesize@r1", "synthesize r1: coverage 90 %; 40 s"),
            ("synthesize@r1", "Finished in state Completed()"),
            ("evaluate@r1", "sandbox: weak"),
            ("evaluate@r1", "Finished in state Failed('error: no')"),
        ]
        logged = [line for stage, line in lines if bars.filter(said(stage, line))]
        shown = {task.description: task for task in progress.tasks}
    assert logged == [
        "Beginning flow run",
        "stage 3 of 9",
        "sandbox: namespaces",
        "stage 4 of 9",
        "synthesize r1: coverage 90 %; 40 s",
        "sandbox: weak",
        "Finished in state Failed('error: no')",
    ]
    assert set(shown) == {"stages", "bootstrap"}, "the other has ended"
    assert (shown["stages"].completed, shown["stages"].total) == (4, 9)
    assert (shown["bootstrap"].completed, shown["bootstrap"].total) == (5, 50)
    assert shown["bootstrap"].fields["note"] == "SFT: 9.0 steps/s, ETA 5 s, loss 0.500"


ON_A_TERMINAL = """
import logging, time
from flows.rounds import evolve  # which has Prefect set its logging up
from flows.bars import bars
say = lambda line: logging.getLogger().warning(line, extra={"task_run_name": "bootstrap"})
with bars():
    say("stage 2 of 9")
    say("SFT: 5/50 (10 %), 9.0 steps/s, ETA 5 s")
    time.sleep(1)
    say("bootstrap: 240 examples; 9 s")
"""


def test_prefects_own_console_shows_them_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "TERM": "xterm",
        "COLUMNS": "120",
        "LINES": "30",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "0",
    }
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL], stderr=theirs, env=environment, cwd=Path(__file__).parents[2]
    ):
        os.close(theirs)
        shown = b""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    text = shown.decode()
    assert "5/50" in text and "SFT: 9.0 steps/s, ETA 5 s" in text
    assert "stage 2 of 9" in text and "240 examples" in text and "(10 %)" not in text
