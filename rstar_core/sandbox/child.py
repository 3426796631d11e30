"""The life of a child: bind itself, then run steps and branch as it is told. Untrusted from the first step on.

A branch is a copy of the process by a bare clone: the copy goes on at the other end of a new channel, from exactly
this state. It is the zygote's child, not ours, so the zygote reaps it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import random
import signal
import socket
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

from rstar_core.sandbox.confine import MAX_DESCRIPTORS, die_with_parent, libc, limit_resources
from rstar_core.sandbox.interpreter import CappedOutput, Interpreter
from rstar_core.sandbox.plain import run_plain
from rstar_core.sandbox.seccomp import BRANCH, CLONE, Program, install_filter
from rstar_core.sandbox.wire import CLOSED, HEADER, HELLO, frame

CHANNEL = 3  # the child's only descriptor beside the three standard ones
MAX_PROCESSES = 4096  # a backstop: the broker allows each one
RESERVE_BYTES = 8 << 20  # given back before the reply, so that a run that ate its memory can still report it


@dataclass(frozen=True, slots=True)
class Confinement:
    """What each child binds itself with. ``syscalls`` is None where the kernel has no filter."""

    zygote_pid: int
    cpu_seconds: int
    max_address_space: int
    max_data: int
    max_output_chars: int
    syscalls: Program | None


def live(channel: int, null: int, confinement: Confinement) -> NoReturn:
    """What a child does from fork to exit. ``channel`` is its end of the run's socket, ``null`` is /dev/null."""
    end = os._exit
    try:
        _bind(channel, null)
        requests = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=CHANNEL)
        _limit(confinement)
        random.seed(0)  # numpy keeps the zygote's seed through the fork, random does not
        _obey(requests, Interpreter(CappedOutput(confinement.max_output_chars)))
    finally:
        end(0)


def _obey(requests: socket.socket, interpreter: Interpreter) -> None:
    """Until the channel closes. What it calls is bound here, before the code can replace it."""
    write, dumps, run, plain = os.write, json.dumps, interpreter.run, run_plain
    write(CHANNEL, HELLO)
    while True:
        request, attached = _receive(requests)
        if attached is not None:
            _branch(attached)
            continue
        reserve = _reserve()
        reply = plain(interpreter, *request[1:]) if request[0] == "plain" else run(request[1])
        if reserve is not None:
            reserve.close()
        payload = frame(dumps(reply).encode())
        while payload:
            payload = payload[write(CHANNEL, payload) :]


def _reserve() -> mmap.mmap | None:
    """Address space only: its pages are never touched."""
    try:
        return mmap.mmap(-1, RESERVE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        return None


def _branch(channel: int) -> None:
    """Two processes return; the new one talks over ``channel``, and over it only.

    With an open file or pipe there is no copy but an end, which the broker takes for a snapshot that is gone: siblings
    would share its offset and what is in it.
    """
    if any(_is_open(number) for number in range(CHANNEL + 1, MAX_DESCRIPTORS) if number != channel):
        _end(0)
    if _clone(CLONE, BRANCH, 0, 0, 0, 0) == 0:
        os.dup2(channel, CHANNEL)
        os.close(channel)
        os.write(CHANNEL, HELLO)
    else:
        os.close(channel)
        os.write(CHANNEL, CLOSED)


def _is_open(number: int) -> bool:
    try:
        _status(number)
    except OSError:
        return False
    return True


_end, _status = os._exit, os.fstat  # bound before the code can replace them
_clone = ctypes.PyDLL(None).syscall  # holds the interpreter's lock, which the copy then has, too


def _bind(channel: int, null: int) -> None:
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(channel, CHANNEL)  # last: the null device itself may be number 3
    os.closerange(CHANNEL + 1, 1 << 20)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _limit(confinement: Confinement) -> None:
    die_with_parent(confinement.zygote_pid)
    limit_resources(confinement.cpu_seconds, confinement.max_address_space, confinement.max_data, MAX_PROCESSES)
    if confinement.syscalls:
        install_filter(libc, confinement.syscalls)
    gc.enable()


def _receive(requests: socket.socket) -> tuple[list[Any], int | None]:
    """The next request and the descriptor that came with it."""
    header, attached, _, _ = requests.recvmsg(HEADER.size, socket.CMSG_SPACE(4))
    if not header:
        raise EOFError
    header += _read_exactly(HEADER.size - len(header))
    request: list[Any] = json.loads(_read_exactly(*HEADER.unpack(header)))
    return request, struct.unpack("i", attached[0][2])[0] if attached else None


def _read_exactly(length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = os.read(CHANNEL, min(length - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
