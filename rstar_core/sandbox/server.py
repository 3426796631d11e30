"""The broker's handle on one fork server: starts it, and has it fork."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rstar_core.config import SandboxLimits
from rstar_core.errors import UserError
from rstar_core.sandbox.judgement import Exit
from rstar_core.sandbox.listener import answer_branch, next_branch
from rstar_core.sandbox.process import Child, Lost
from rstar_core.sandbox.wire import BRANCH_REQUEST, CLOSED

SCRIPT = Path(__file__).with_name("zygote.py")
START_SECONDS = 120.0
STOP_SECONDS = 5.0
REAP_SECONDS = 10.0
BRANCH_SECONDS = 10.0  # on a very busy machine an honest parent takes seconds, and its replay would take more
MAX_DENIALS = 20
STARTS = 3
STEPS_PER_PROCESS = 64  # the broker holds each step to its processor time; the kernel's limit is for all of a process

# What a fork server has loaded, so that its children need not.
LIBRARIES = (
    "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools", "heapq",
    "itertools", "json", "math", "mpmath", "numpy", "operator", "random", "re", "statistics", "string", "sympy",
    "typing", "math_verify",
)  # fmt: skip

# Not -I: that also ignores PYTHONHASHSEED, and the environment is literal anyway.
INTERPRETER_FLAGS = ("-P", "-s", "-B")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/tmp",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class ServerDied(Exception):
    """The fork server is gone, and with it the child whose run raises this."""


class ForkServer:
    """One zygote process. ``layers`` names the isolation in force; ``is_dead`` says that it must be replaced."""

    def __init__(self, limits: SandboxLimits, libraries: Sequence[str]) -> None:
        self._limits = limits
        self._exits: dict[int, asyncio.Future[Exit]] = {}  # by number in the namespace
        self._children: dict[int, Child] = {}  # by pid
        self._listener = -1
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[list[str]] = _future(self._loop)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = _spawn(theirs, limits, libraries)
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._hear)
        self.layers: tuple[str, ...] = ()
        self.is_dead = False

    @classmethod
    async def start(cls, limits: SandboxLimits, libraries: Sequence[str] = LIBRARIES) -> Self:
        """A warm server; one that dies while it starts is started again.

        Raises:
            UserError: it does not come up; its own words are on standard error.
        """
        for _ in range(STARTS):
            server = cls(limits, libraries)
            try:
                async with asyncio.timeout(START_SECONDS):
                    server.layers = tuple(await server._ready)
                return server
            except ServerDied:
                await server.stop()
            except TimeoutError:
                await server.stop()
                break
            except BaseException:
                await server.stop()
                raise
        raise UserError("sandbox: the fork server did not start; its last words are above")

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        """End the server and every child. Idempotent."""
        self._die()
        try:
            await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def spawn(self) -> Child:
        """A fresh child. Raises ServerDied if the server does not give one."""
        ours, theirs = socket.socketpair()
        child = Child(ours, self._limits)
        with theirs:
            self._tell(theirs)
        try:
            async with asyncio.timeout(REAP_SECONDS):
                await self._admit(child)
        except (Lost, TimeoutError):
            self._die()
            raise ServerDied from None
        return child

    async def branch(self, parent: Child) -> Child:
        """A child that goes on from the state of the paused ``parent``.

        Raises:
            Lost: ``parent`` is gone or does not branch; it is killed, and any process that it made without a word.
        """
        parent.users += 1
        try:
            async with parent.branching, asyncio.timeout(BRANCH_SECONDS):
                return await self._branch(parent)
        except (Lost, TimeoutError, OSError):
            parent.kill()
            self._loop.call_later(BRANCH_SECONDS, self._kill_strays, self._strays())
            raise Lost from None
        finally:
            parent.users -= 1
            if not parent.users:
                parent.signal(signal.SIGSTOP)

    async def _branch(self, parent: Child) -> Child:
        """The parent may be stopped again only when it has closed its copy of the child's end: else no end of file."""
        ours, theirs = socket.socketpair()
        child = Child(ours, self._limits)
        try:
            with theirs:
                parent.may_branch = True
                parent.signal(signal.SIGCONT)
                socket.send_fds(parent.channel, [BRANCH_REQUEST], [theirs.fileno()])
            await self._admit(child)
            if await self._loop.sock_recv(parent.channel, 1) != CLOSED:
                raise Lost
        except BaseException:
            child.kill()
            raise
        finally:
            parent.may_branch = False
        return child

    async def _admit(self, child: Child) -> None:
        """Take the child in when it says hello. A process that is known already can't be a new one."""
        try:
            await child.greet()
            if child.pid in self._children or self.is_dead:
                raise Lost
        except BaseException:
            child.kill()
            raise
        self._children[child.pid] = child
        child.exited = self._exits[child.number] = _future(self._loop)
        child.exited.add_done_callback(lambda _: self._children.pop(child.pid, None))

    async def reaped(self, child: Child) -> None:
        """Wait for the end of a child that was killed; a server that does not report it in time counts as dead."""
        if child.exited is not None:
            await asyncio.wait([child.exited], timeout=REAP_SECONDS)
            if not child.exited.done():
                self._die()

    def _tell(self, attached: socket.socket) -> None:
        if self.is_dead:
            return
        try:
            socket.send_fds(self._control, [b"spawn"], [attached.fileno()])
        except OSError:
            self._die()

    def _hear(self) -> None:
        try:
            message, attached, _, _ = socket.recv_fds(self._control, 65536, 1)
        except OSError:
            message, attached = b"", []
        match json.loads(message) if message else None:
            case None:
                self._die()
            case ["ready", layers]:
                self._listen(attached)
                self._ready.set_result(layers)
            case ["exit", number, *end]:
                exited = self._exits.pop(number, None)
                if exited and not exited.done():
                    exited.set_result(Exit(*end))

    # --- branches ---------------------------------------------------------------------------------------------

    def _listen(self, attached: list[int]) -> None:
        if attached:
            self._listener = attached[0]
            self._loop.add_reader(self._listener, self._decide)

    def _decide(self) -> None:
        """Let a child branch if it was asked to, once; refuse all else, and end who insists."""
        asked = next_branch(self._listener)
        if asked is None:
            return
        child = self._children.get(asked.pid)
        if child and child.may_branch:
            child.may_branch = not answer_branch(self._listener, asked, may=True)
            return
        answer_branch(self._listener, asked, may=False)
        if child:
            child.denials += 1
        if child is None or child.denials >= MAX_DENIALS:
            with suppress(ProcessLookupError):
                os.kill(asked.pid, signal.SIGKILL)

    def _strays(self) -> set[int]:
        """Processes of this server that never said hello."""
        with suppress(OSError):
            zygote = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            listed = (Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in zygote)
            return {int(pid) for pids in listed for pid in pids} - self._children.keys()
        return set()

    def _kill_strays(self, earlier: set[int]) -> None:
        """Those that were strays when a branch failed, and still are: a slow but honest child has come in by now."""
        for pid in earlier & self._strays():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _die(self) -> None:
        """Close the control, which ends the server if it lives, and fail everything that waits for it."""
        if self.is_dead:
            return
        self.is_dead = True
        self._loop.remove_reader(self._control)
        self._control.close()
        if self._listener >= 0:
            self._loop.remove_reader(self._listener)
            os.close(self._listener)
        everything: list[asyncio.Future[Any]] = [self._ready, *self._exits.values()]
        for waiting in everything:
            if not waiting.done():
                waiting.set_exception(ServerDied())
        self._exits.clear()


def _spawn(control: socket.socket, limits: SandboxLimits, libraries: Sequence[str]) -> subprocess.Popen[bytes]:
    numbers = (
        control.fileno(),
        STEPS_PER_PROCESS * limits.cpu_seconds,
        limits.memory_mib,
        limits.max_output_chars,
        os.getpid(),
    )
    return subprocess.Popen(
        [sys.executable, *INTERPRETER_FLAGS, str(SCRIPT), *map(str, numbers), *libraries],
        stdin=subprocess.DEVNULL,
        pass_fds=[control.fileno()],
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def _future(loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    """A future whose exception may go unread: a run that was cancelled never asks how its child ended."""
    future: asyncio.Future[Any] = loop.create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
