"""DVC as a process of its own, which ends with whoever has started it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

MENDABLE = "error: "  # how a stage begins the one line about what its user can mend
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
NO_REMOTE = "no remote specified"
EMPTY = re.compile(r"^WARNING: '.*' is empty\.$")  # no rejected rows, no pairs: that is as it may be


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


def reason(lines: Sequence[str]) -> str | None:
    """The line that says why: the stage's own, the last one before it broke, or DVC's."""
    for line in reversed(lines):
        if line.startswith(MENDABLE):
            return line
    for index, line in enumerate(lines):
        if found := BROKE.search(line):
            return f"{lines[index - 1]} (exit code {found[1]})"
    return next((line for line in lines if line.startswith("ERROR: ")), None)


def push(environment: Mapping[str, str]) -> str | None:
    """Copy all results to DVC's default remote, if there is one.

    Where it is away, one line that says so: the next run sends them.
    """
    lines: list[str] = []
    if not run_dvc(["--wait-for-lock", "push"], environment, lines.append):
        return None
    why = (reason(lines) or "failed").removeprefix("ERROR: ")
    if NO_REMOTE in why:
        return None
    return f"push: {why}; results are safe here, and the next run or `dvc push` sends them"
