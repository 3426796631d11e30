"""The sandbox's contract: run this step from that parent's state, isolated, and say what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Status(StrEnum):
    OK = "ok"
    ERROR = "error"  # a Python exception, reported by the child
    KILLED = "killed"  # the child died without a result
    TIMEOUT = "timeout"  # the wall clock ended it
    OOM = "oom"
    PROTOCOL = "protocol"  # the child sent something that is not a result


@dataclass(frozen=True, slots=True)
class Raised:
    """A Python exception, by the child's own word.

    ``line`` is the line of the step that was running, from 1, also where a function that it called raised; 0 where
    none is known.
    """

    type: str
    message: str
    line: int

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did. ``stdout`` is this step's output only (not its ancestors'), capped, with the cut marked.

    ``error`` is one short line ("ZeroDivisionError: division by zero") and empty when ``status`` is OK. Seconds are
    wall and CPU of the child. ``raised`` is there when ``status`` is ERROR. ``signal`` is what ended the child, 0 if
    none did. ``peak_mib`` is its largest resident set so far, with what it shares with its server; 0 if unknown.
    """

    status: Status
    stdout: str
    error: str
    seconds: float
    cpu_seconds: float
    raised: Raised | None = None
    signal: int = 0
    peak_mib: float = 0.0


class Sandbox(Protocol):
    @property
    def level(self) -> str:
        """Which isolation is in force, as results are stored with it, e.g. ``namespaces+mounts+seccomp``."""
        ...

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        """Run ``code`` from the state that the ancestors' code ``parents`` (root first) leaves behind.

        Never raises for anything that the code does. State never leaks to another run. Steps of one problem may share
        a process where they are plain (``plain.py``), which is far cheaper; without ``problem_id`` none does.
        """
        ...
