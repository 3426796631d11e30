"""Progress with rate and ETA as plain log lines: readable in a terminal, a file and a flow's log alike."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

PROGRESS = re.compile(r"^(?P<what>.*): (?P<done>\d+)/(?P<total>\d+) \(\d+ %\), (?P<rest>.*)$")  # a line, as made below


class Progress:
    """Prints ``what: 120/480 (25 %), 3.1 problems/s, ETA 1 min 56 s`` at most every ``every`` seconds.

    Where nobody knows the ``total`` beforehand, it prints ``what: 120, 3.1 problems/s``.
    """

    def __init__(self, what: str, total: int | None, unit: str, *, done: int = 0, every: float = 5.0) -> None:
        self._what, self._total, self._unit, self._every = what, total, unit, every
        self._done = self._done_before = done
        self._started = self._printed = time.monotonic()

    def skip(self) -> None:
        """One was done before: it counts, but not for the rate."""
        self._done += 1
        self._done_before += 1

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._printed >= self._every or self._done == self._total:
            self._printed = now
            print(self._line(now - self._started, note), file=sys.stderr, flush=True)

    def _line(self, seconds: float, note: str) -> str:
        rate = (self._done - self._done_before) / max(seconds, 1e-9)
        if self._total is None:
            return ", ".join(filter(None, (f"{self._what}: {self._done}", speed(rate, self._unit), note)))
        left = (self._total - self._done) / rate if rate else 0.0
        share = 100 * self._done / max(self._total, 1)
        eta = f"ETA {duration(left)}" if self._done < self._total else f"took {duration(seconds)}"
        parts = [f"{self._what}: {self._done}/{self._total} ({share:.0f} %)", speed(rate, self._unit), eta, note]
        return ", ".join(part for part in parts if part)


def say_kept(what: str, number: int) -> None:
    """That an interrupted run has left ``number`` finished trees, if it has left any."""
    if number:
        print(f"{what}: going on from {number} finished trees", file=sys.stderr, flush=True)


def speed(rate: float, unit: str) -> str:
    """``3.1 trees/s``, and ``25.0 s/tree`` where one takes longer than a second."""
    return f"{rate:.1f} {unit}/s" if rate >= 1 or not rate else f"{1 / rate:.1f} s/{unit.removesuffix('s')}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def progress_callback(what: str) -> Any:
    """A transformers TrainerCallback that reports optimiser steps, loss and ETA; of several processes one speaks."""
    from transformers import TrainerCallback

    class Report(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.progress = Progress(what, state.max_steps, "steps")

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not state.is_world_process_zero:
                return
            last = next((row["loss"] for row in reversed(state.log_history) if "loss" in row), None)
            self.progress.advance(note="" if last is None else f"loss {last:.3f}")

    return Report()
