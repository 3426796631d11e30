"""From what the channel and the kernel say to an Outcome. The status never rests on the child's word alone."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from enum import Enum

from rstar_core.config import SandboxLimits
from rstar_core.sandbox.base import Outcome, Raised, Status
from rstar_core.sandbox.wire import HEADER, decode_reply

CPU_SLACK_SECONDS = 0.1  # the kernel counts the limit in ticks


@dataclass(frozen=True, slots=True)
class Exit:
    """How the kernel says a child ended."""

    wait_status: int
    cpu_seconds: float
    peak_mib: float

    @property
    def signal(self) -> int:
        """Its fatal signal, 0 if it exited."""
        return -min(os.waitstatus_to_exitcode(self.wait_status), 0)


class Overrun(Enum):
    """The limit that ended a step before its reply."""

    WALL = "wall"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a step took: wall and CPU seconds; and its process's largest resident set so far."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def judge(limits: SandboxLimits, payload: bytes | Overrun, end: Exit | None, denials: int, usage: Usage) -> Outcome:
    """``end`` is there if the child ended by itself; ``denials`` counts the branches it took without leave."""
    if isinstance(payload, bytes) and payload:
        return _judge_reply(limits, payload, usage)
    ended_by = int(signal.SIGKILL)
    if payload is Overrun.WALL:
        status, error = Status.TIMEOUT, f"wall limit of {limits.wall_seconds:g} s exceeded"
    elif payload is Overrun.CPU:
        status, error = Status.KILLED, f"CPU limit of {limits.cpu_seconds} s exceeded"
    elif end:
        status, error, ended_by = *_cause_of_death(limits, end, denials), end.signal
    else:
        status, error = Status.KILLED, "it closed its channel"
    return _outcome(status, "", error, usage, signal=ended_by)


def _judge_reply(limits: SandboxLimits, payload: bytes, usage: Usage) -> Outcome:
    reply = decode_reply(payload[HEADER.size :], limits.max_output_chars)
    if reply is None:
        return _outcome(Status.PROTOCOL, "", "it sent something that is no result", usage, signal=signal.SIGKILL)
    if reply.raised is None:
        return _outcome(Status.OK, reply.stdout, "", usage)
    return _outcome(Status.ERROR, reply.stdout, str(reply.raised), usage, raised=reply.raised)


def _outcome(
    status: Status, stdout: str, error: str, usage: Usage, *, raised: Raised | None = None, signal: int = 0
) -> Outcome:
    return Outcome(status, stdout, error, usage.seconds, usage.cpu_seconds, raised, signal, usage.peak_mib)


def _cause_of_death(limits: SandboxLimits, end: Exit, denials: int) -> tuple[Status, str]:
    if denials:
        return Status.KILLED, f"it tried to fork {denials} times"
    if end.signal in (signal.SIGKILL, signal.SIGXCPU) and end.cpu_seconds > limits.cpu_seconds - CPU_SLACK_SECONDS:
        return Status.KILLED, f"CPU limit of {limits.cpu_seconds} s exceeded"
    if end.signal == signal.SIGKILL:  # nobody else sends it: the machine ran out of memory
        return Status.OOM, "the machine ran out of memory"
    if end.signal:
        return Status.KILLED, f"ended by {signal.Signals(end.signal).name}"
    return Status.KILLED, "it exited without a result"
