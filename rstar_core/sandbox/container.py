"""ContainerSandbox: where there is no Linux for ForkSandbox, a container command runs Python, anew for every step.

The isolation is the command's own. Every run replays its prefix and starts an interpreter, so it is slow: a second
where ForkSandbox takes milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rstar_core.config import SandboxLimits
from rstar_core.errors import UserError
from rstar_core.machine.variables import SANDBOX_COMMAND
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.level import say_once
from rstar_core.sandbox.wire import HEADER, decode_reply, encode_steps, frame, max_reply_bytes

FOLDER = Path(__file__).parent
MODULES = ("base", "wire", "interpreter")  # what the guest needs of our package, in this order
LIBRARIES_MIB = 2048  # address space that an interpreter with numpy and sympy reserves
START_SECONDS, END_SECONDS = 120.0, 2.0
SHELL_SIGNAL = 128  # docker and shells report a signal as an exit code above this


class ContainerSandbox:
    """Implements ``rstar_core.sandbox.base.Sandbox``. ``command`` ends in a Python interpreter, without arguments.

    CPU seconds and peak memory are not known from outside: 0. The limit of CPU is for the whole prefix.
    """

    level = "container"
    description = f"container, by {SANDBOX_COMMAND.name}; slow: an interpreter for every step"

    def __init__(self, limits: SandboxLimits, command: Sequence[str]) -> None:
        self._limits = limits
        self._command = command
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def __aenter__(self) -> Self:
        """Raises UserError if the command does not run a step."""
        outcome = await self.run([], "pass")
        if outcome.status is not Status.OK:
            raise UserError(f"{SANDBOX_COMMAND.name}: '{shlex.join(self._command)}' runs no Python: {outcome.error}")
        say_once(self.description)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is kept between runs."""

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        """See ``Sandbox.run``. Every step has a process of its own."""
        async with self._slots:
            try:
                process = await self._start()
            except OSError as error:
                return _lost(f"{self._command[0]}: {error.strerror}")
            try:
                return await self._run(process, [*parents, code])
            finally:
                await _end(process)

    async def _start(self) -> Process:
        guest = (FOLDER / "guest.py").read_text(encoding="utf-8")
        command = [*self._command, "-c", guest]
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )

    async def _run(self, process: Process, codes: Sequence[str]) -> Outcome:
        sending = asyncio.create_task(_send(process, self._setup(len(codes)) + encode_steps(codes)))
        try:
            if await self._reply(process, START_SECONDS) != b"":
                return _lost("it did not come up")
            num_left = len(codes)
            while num_left:
                outcome, num_left = await self._step(process), num_left - 1
                if outcome.status is not Status.OK:
                    break
        finally:
            sending.cancel()
        return replace(outcome, stdout="", error=f"prefix: {outcome.error}") if num_left else outcome

    def _setup(self, num_steps: int) -> bytes:
        sources = {f"rstar_core.sandbox.{name}": (FOLDER / f"{name}.py").read_text("utf-8") for name in MODULES}
        setup = {
            "modules": sources,
            "cpu_seconds": num_steps * self._limits.cpu_seconds,
            "memory_mib": LIBRARIES_MIB + self._limits.memory_mib,
            "max_output_chars": self._limits.max_output_chars,
        }
        return frame(json.dumps(setup).encode())

    async def _step(self, process: Process) -> Outcome:
        started = time.monotonic()
        payload = await self._reply(process, self._limits.wall_seconds)
        seconds = time.monotonic() - started
        if payload is None and seconds >= self._limits.wall_seconds:
            error = f"wall limit of {self._limits.wall_seconds:g} s exceeded"
            return Outcome(Status.TIMEOUT, "", error, seconds, 0.0, signal=signal.SIGKILL)
        if payload is None:
            return await self._how_it_ended(process, seconds)
        reply = decode_reply(payload, self._limits.max_output_chars)
        if reply is None:
            return Outcome(Status.PROTOCOL, "", "it sent something that is no result", seconds, 0.0)
        if reply.raised is None:
            return Outcome(Status.OK, reply.stdout, "", seconds, 0.0)
        return Outcome(Status.ERROR, reply.stdout, str(reply.raised), seconds, 0.0, reply.raised)

    async def _reply(self, process: Process, patience: float) -> bytes | None:
        """The next frame; None where none comes, in time or at all."""
        assert process.stdout
        with suppress(asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(patience):
                (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
                is_sound = length <= max_reply_bytes(self._limits.max_output_chars)
                return await process.stdout.readexactly(length) if is_sound else b"too long"
        return None

    async def _how_it_ended(self, process: Process, seconds: float) -> Outcome:
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=END_SECONDS)
        code = process.returncode or 0
        number = -code if code < 0 else max(code - SHELL_SIGNAL, 0)
        error = "it exited without a result"
        if number == signal.SIGXCPU:
            error = f"CPU limit of {self._limits.cpu_seconds} s a step exceeded"
        elif number:
            error = f"ended by signal {number}"
        return Outcome(Status.KILLED, "", error, seconds, 0.0, signal=number)


def _lost(why: str) -> Outcome:
    return Outcome(Status.KILLED, "", why, 0.0, 0.0)


async def _send(process: Process, data: bytes) -> None:
    assert process.stdin
    with suppress(OSError):
        process.stdin.write(data)
        await process.stdin.drain()


async def _end(process: Process) -> None:
    """Its input ends, then it is asked to, then it must: a container's client passes only the second on."""
    assert process.stdin
    process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
