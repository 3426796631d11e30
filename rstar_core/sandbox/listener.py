"""Seccomp's user notifications: the kernel asks the broker whether a child may clone (seccomp_unotify(2))."""

from __future__ import annotations

import errno
import fcntl
import select
import struct
from dataclasses import dataclass

RECEIVE, SEND = 0xC0502100, 0xC0182101
QUESTION, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
CONTINUE = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One clone that waits for its answer; ``pid`` as the broker sees it."""

    id: int
    pid: int


def next_branch(listener: int) -> Asked | None:
    """The next question, or None if whoever asked is gone."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    question = bytearray(QUESTION.size)
    try:
        if not any(events & select.POLLIN for _, events in poll.poll(0)):
            return None
        fcntl.ioctl(listener, RECEIVE, question)
    except OSError:
        return None
    fields = QUESTION.unpack(question)
    return Asked(fields[0], fields[1])


def answer_branch(listener: int, asked: Asked, may: bool) -> bool:
    """Let the kernel go on with the clone, or fail it with EAGAIN. False if whoever asked is gone."""
    verdict = (0, CONTINUE) if may else (-errno.EAGAIN, 0)
    try:
        fcntl.ioctl(listener, SEND, ANSWER.pack(asked.id, 0, *verdict))
    except OSError:
        return False
    return True
