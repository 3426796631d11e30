"""The one task that does anything: bring one DVC stage up to date, its log lines streamed into the task's log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows.graph import Stage

MENDABLE = "error: "  # how a stage begins the one line about what its user can mend
UP_TO_DATE = "UpToDate"  # the state of a stage that did not run
DID_NOT_RUN = ("didn't change, skipping", "is cached - skipping run")
BROKE = re.compile(r"^ERROR: .*failed to run: .*, exited with (-?\d+)")  # DVC's line, with the whole command in it
CHATTER = (  # DVC's standing advice about git and pushing
    "To track the changes with git",
    "git add ",
    "To enable auto staging",
    "dvc config core.autostage",
    "Use `dvc push`",
    "Generating lock file",
    "Updating lock file",
    "Data and pipelines are up to date.",
    "> exec python -m tasks ",  # hundreds of characters, all of them in dvc.yaml
    "Running stage ",
)
EMPTY = re.compile(r"^WARNING: '.*' is empty\.$")  # no rejected rows, no pairs: that is as it may be
PROGRESS = re.compile(r": (\d+)/(\d+) \(\d+ %\), ")  # rstar_core/progress.py
RETRY_DELAY_SECONDS = 3


class Children:
    """What the tasks of a flow run have started: once ``end`` was called, none of it goes on."""

    def __init__(self) -> None:
        self._alive: set[subprocess.Popen[str]] = set()
        self._is_over = False
        self._change = Lock()

    @property
    def is_over(self) -> bool:
        return self._is_over

    @contextmanager
    def child(self, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
        """A process whose output is lines. It ends with the block; where all have been ended, at once."""
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, text=True, bufsize=1, **pipe)  # type: ignore[call-overload]
        with self._change:
            self._alive.add(process)
            if self._is_over:
                process.terminate()
        with process:
            try:
                yield process
            finally:
                self._alive.discard(process)
                process.terminate()

    def end(self) -> None:
        with self._change:
            self._is_over = True
            for process in list(self._alive):
                process.terminate()


@task(cache_policy=NO_CACHE)
def reproduce(stage: str, environment: dict[str, str], place: str, children: Children) -> State[Any]:
    """``dvc repro --single-item <stage>``: DVC alone decides whether anything runs. ``place`` is ``stage 7 of 31``."""
    lines: list[str] = []
    say = get_run_logger().info
    say(place)
    listeners = (lines.append, say, gauge(stage), kept_log(stage))
    code = run_dvc(["--wait-for-lock", "repro", "--single-item", stage], environment, _all(listeners), children)
    if code and children.is_over:
        return Cancelled(message="ended with the flow; the next run goes on where it stopped")
    if code:
        return Failed(message=reason(lines) or f"dvc ended with exit code {code}")
    if any(text in line for line in lines for text in DID_NOT_RUN):
        return Completed(name=UP_TO_DATE, message="up to date")
    return Completed()


def kept_log(stage: str) -> Callable[[str], None]:
    """Keeps lines in run/stages/<stage>.log, for who looks later. On a full disk they are in the flow's log alone."""
    path = Path("run/stages") / f"{stage}.log"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

    def keep(line: str) -> None:
        with suppress(OSError), path.open("a", encoding="utf-8") as log:
            print(line, file=log)

    return keep


@task(cache_policy=NO_CACHE)
def confirm() -> State[Any]:
    """A stage that DVC has been asked about already: it would run nothing."""
    return Completed(name=UP_TO_DATE, message="up to date")


def keep(stage: Stage) -> State[Any]:
    """The state of a stage that is up to date, which Prefect is told of."""
    state: State[Any] = confirm.with_options(task_run_name=stage.name)(return_state=True)
    return state


def task_for(stage: Stage) -> Any:
    """The task with the name and the retries of ``stage``."""
    return reproduce.with_options(
        task_run_name=stage.name,
        retries=stage.num_retries,
        retry_delay_seconds=RETRY_DELAY_SECONDS,
        retry_condition_fn=may_pass_next_time,
    )


def may_pass_next_time(task: Any, run: Any, state: State[Any]) -> bool:
    """What a user must mend fails at once."""
    return not (state.message or "").startswith(MENDABLE)


def reason(lines: Sequence[str]) -> str | None:
    """The line that says why: the stage's own, the last one before it broke, or DVC's."""
    for line in reversed(lines):
        if line.startswith(MENDABLE):
            return line
    for index, line in enumerate(lines):
        if found := BROKE.search(line):
            return f"{lines[index - 1]} (exit code {found[1]})"
    return next((line for line in lines if line.startswith("ERROR: ")), None)


def run_dvc(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    say: Callable[[str], object],
    children: Children | None = None,
) -> int:
    """Run DVC, hand each line that it or its stage prints to ``say``, and return its exit code.

    The child dies with this process; when this call is interrupted, or ``children`` are ended, it is ended first.
    """
    command = [sys.executable, "-m", "flows.mortal", "dvc", *arguments]
    with (children or Children()).child(command, _environment(environment)) as child:
        for line in child.stdout or ():
            text = line.rstrip()
            if text and not text.strip().startswith(CHATTER) and not EMPTY.match(text):
                say(text)
        return int(child.wait())


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours, with this interpreter as ``python`` and with lines that come as they are printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **more}


def gauge(stage: str) -> Callable[[str], None]:
    """A progress artifact of ``stage`` in Prefect, which follows the stage's own lines about its progress."""
    key = "progress-" + re.sub(r"[^a-z0-9]+", "-", stage.lower())
    made: list[Any] = []  # the artifact, once there is any

    def follow(line: str) -> None:
        if found := PROGRESS.search(line):
            share = min(100.0, 100 * int(found[1]) / max(1, int(found[2])))
            if made:
                update_progress_artifact(artifact_id=made[0], progress=share, description=line)
            else:
                made.append(create_progress_artifact(progress=share, key=key, description=line))

    return follow


def _all(listeners: Sequence[Callable[[str], object]]) -> Callable[[str], None]:
    def say(line: str) -> None:
        for listener in listeners:
            listener(line)

    return say
