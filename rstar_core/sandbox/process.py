"""The broker's handle on one child: its channel, its place in the kernel, the steps it runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

from rstar_core.config import SandboxLimits
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.channel import receive_frame, send
from rstar_core.sandbox.judgement import Exit, Overrun, Usage, judge
from rstar_core.sandbox.wire import HEADER, HELLO, NOT_PLAIN, decode_reply, encode_plain, encode_steps, max_reply_bytes

# A plain step takes microseconds. One that takes so long, or all its memory, is run again in a process of its own,
# under the limits: what the limits end, they end there.
PLAIN_CPU_SECONDS, PLAIN_WALL_SECONDS = 0.1, 2.0
GRACE_SECONDS = 0.2  # for a child that closed its channel to show how it died
_OF_THE_MACHINE = ("MemoryError", "RecursionError")  # errors that may be of what ran in the process before
CREDENTIALS = struct.Struct("3i")
NUMBER = re.compile(rb"^NSpid:.*?(\d+)$", re.MULTILINE)
PEAK = re.compile(rb"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


class Lost(Exception):
    """A child did not come up as it should, or its parent did not branch."""


class Child:
    """One process. ``exited`` is done when it has been reaped; ``users`` counts who is branching from it."""

    def __init__(self, channel: socket.socket, limits: SandboxLimits) -> None:
        self.channel = channel
        self.pid = self.number = 0  # here, and in its own namespace
        self.exited: asyncio.Future[Exit] | None = None
        self.users, self.denials = 0, 0
        self.may_branch = False
        self.branching = asyncio.Lock()
        self._pidfd = -1
        self._limits = limits
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        channel.setblocking(False)

    async def greet(self) -> None:
        """Wait for its first byte, which the kernel stamps with its pid.

        Raises:
            Lost: it ended or said something else.
        """
        await _readable(self.channel)
        with suppress(OSError, ValueError):
            word, stamps, _, _ = self.channel.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
            if word == HELLO and stamps:
                self.pid = CREDENTIALS.unpack(stamps[0][2])[0]
                self._pidfd = os.pidfd_open(self.pid)
                self.number = _field(self.pid, NUMBER) or self.pid
                return
        raise Lost

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far; 0 when it is gone."""
        try:
            return time.clock_gettime(~self.pid << 3 | 2)  # the clock of another process, see clock_getcpuclockid(3)
        except OSError:
            return 0.0

    @property
    def peak_mib(self) -> float:
        """Its largest resident set so far; 0 when it is gone."""
        return _field(self.pid, PEAK) / 1024

    @property
    def is_gone(self) -> bool:
        return self.exited is None or self.exited.done()

    def signal(self, number: int) -> None:
        with suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Idempotent."""
        self.signal(signal.SIGKILL)
        self.channel.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def run(self, codes: Sequence[str]) -> tuple[int, Outcome]:
        """Run steps until one fails: the place of the last that ran, and its outcome. Limits are each step's own."""
        sending = send(self.channel, encode_steps(codes))
        try:
            for place in range(len(codes)):
                outcome = await self._step(is_first=place == 0)
                if outcome.status is not Status.OK:
                    break
        finally:
            if sending:
                sending.cancel()
        return place, outcome

    async def run_plain(self, parents: Sequence[str], code: str) -> Outcome | None:
        """Run a plain step after its ancestors; None where they are not plain or an ancestor fails.

        Raises:
            Lost: it did not come to its own end here, so that nothing is known; the child is of no more use.
        """
        started, cpu_before = time.monotonic(), self.cpu_seconds
        sending = send(self.channel, encode_plain(parents, code))
        try:
            payload = await self._reply(started + PLAIN_WALL_SECONDS, cpu_before + PLAIN_CPU_SECONDS)
        finally:
            if sending:
                sending.cancel()
        if payload == NOT_PLAIN:
            return None
        reply = (
            decode_reply(payload[HEADER.size :], self._limits.max_output_chars) if isinstance(payload, bytes) else None
        )
        if reply is None or (reply.raised and reply.raised.type in _OF_THE_MACHINE):
            raise Lost
        return judge(
            self._limits, payload, None, 0, Usage(time.monotonic() - started, self.cpu_seconds - cpu_before, 0.0)
        )

    async def _step(self, is_first: bool) -> Outcome:
        started, cpu_before = time.monotonic(), 0.0 if is_first else self.cpu_seconds
        payload = await self._reply(started + self._limits.wall_seconds, cpu_before + self._limits.cpu_seconds)
        seconds, cpu_seconds, peak_mib = time.monotonic() - started, self.cpu_seconds, self.peak_mib
        end = await self._end() if payload == b"" else None
        if end:
            cpu_seconds, peak_mib = end.cpu_seconds, end.peak_mib
        usage = Usage(seconds, max(cpu_seconds - cpu_before, 0.0), peak_mib)
        return judge(self._limits, payload, end, self.denials, usage)

    async def _reply(self, deadline: float, cpu_deadline: float) -> bytes | Overrun:
        receiving = asyncio.ensure_future(receive_frame(self.channel, max_reply_bytes(self._limits.max_output_chars)))
        try:
            while True:
                left = cpu_deadline - self.cpu_seconds  # it can't use processor time faster than the wall clock runs
                patience = min(deadline - time.monotonic(), max(left, 0.005))
                if patience <= 0:
                    return Overrun.WALL
                if left <= 0:
                    return Overrun.CPU
                if (await asyncio.wait({receiving}, timeout=patience))[0]:
                    return receiving.result()
        finally:
            receiving.cancel()

    async def _end(self) -> Exit | None:
        """How it ended, if it did, before anybody killed it."""
        if self.exited is None:
            return None
        await asyncio.wait([self.exited], timeout=GRACE_SECONDS)
        return self.exited.result() if self.exited.done() else None


async def _readable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(channel, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(channel)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _field(pid: int, pattern: re.Pattern[bytes]) -> int:
    """A number of /proc/<pid>/status; 0 where there is none, as of a process that has ended."""
    with suppress(OSError), open(f"/proc/{pid}/status", "rb", buffering=0) as status:  # noqa: PTH123 - twice a run
        found = pattern.search(status.read(8192) or b"")
        return int(found[1]) if found else 0
    return 0
