"""On a terminal the stages at work have one bar each, in place; what is logged goes by above them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rstar_core.progress import PROGRESS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

BEGAN = re.compile(r"^stage (\d+) of (\d+)$")
ENDED = re.compile(r"^Finished in state ")  # Prefect's line
ENDED_WELL = "Finished in state Completed()"
ISOLATION = re.compile(r"^sandbox: ")
UPDATES_PER_SECOND = 2  # a training's threads mind whatever else runs


@contextmanager
def bars() -> Iterator[None]:
    """While the context lasts, and where standard error is a terminal.

    The bars are read off the lines that stages log, which reach Prefect and the files in run/stages as ever.
    """
    from prefect.logging.handlers import PrefectConsoleHandler
    from rich.theme import Theme

    handler = next((one for one in logging.getLogger().handlers if isinstance(one, PrefectConsoleHandler)), None)
    if handler is None or not handler.console.is_terminal or handler.console.is_dumb_terminal:
        yield
        return
    # The bars are drawn by the console that the log is printed by: two would write into each other's lines.
    with handler.console.use_theme(Theme()), _columns(handler.console) as progress:
        in_place = _InPlace(progress)
        handler.addFilter(in_place)
        try:
            yield
        finally:
            handler.removeFilter(in_place)


def _columns(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        refresh_per_second=UPDATES_PER_SECOND,
        transient=True,
    )


class _InPlace(logging.Filter):
    """Keeps lines of progress from a terminal's log, and moves the bars by them.

    A stage's end is said by its results, and the isolation once for all stages that have the same.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._isolation: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        stage, line = getattr(record, "task_run_name", None), record.getMessage()
        if stage is None:
            return True
        if began := BEGAN.match(line):
            self._begin(stage, int(began[1]), int(began[2]))
        elif ENDED.match(line):
            self._end(stage)
            return line != ENDED_WELL
        elif ISOLATION.match(line):
            is_known, self._isolation = line == self._isolation, line
            return not is_known
        elif found := PROGRESS.search(line):
            self._move(stage, found)
            return False
        return True

    def _begin(self, stage: str, number: int, num_stages: int) -> None:
        if self._all is None:
            self._all = self._progress.add_task("stages", completed=number - 1, total=num_stages, note="")
        if stage not in self._bars:  # it may be tried again
            self._bars[stage] = self._progress.add_task(stage, total=1, note="")

    def _move(self, stage: str, found: re.Match[str]) -> None:
        if stage in self._bars:
            what = found["what"].removeprefix(stage.replace("@", " ")).lstrip(", ")
            done, total, note = int(found["done"]), int(found["total"]), f"{what}: {found['rest']}".removeprefix(": ")
            self._progress.update(self._bars[stage], completed=done, total=total, note=note)

    def _end(self, stage: str) -> None:
        if stage in self._bars:
            self._progress.remove_task(self._bars.pop(stage))
        if self._all is not None:
            self._progress.advance(self._all)
