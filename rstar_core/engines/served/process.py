"""A server as a child process: started, waited for, and ended with all that it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rstar_core.errors import UserError
from rstar_core.machine.parent_death import asked_to_end_with_parent
from rstar_core.machine.ports import HOST, free_port, is_free

LOGS = Path("run/vllm")
_GRACE = 10.0  # seconds between asking a server to end and making it


class ServerProcess:
    """``command`` on a port, given as ``--port``; its output goes to ``log``. It ends when this process does."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], port: int | None) -> None:
        self.log = LOGS / f"{name}.log"
        self._name = name
        self._command = command
        self._environment = environment
        self._wanted_port = port
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """Start it; its address. It does not answer yet.

        Raises:
            UserError: the port that the user named is taken, or there is nothing to run.
        """
        port = self._wanted_port or free_port()
        if not is_free(port):
            raise UserError(f"port {port} is taken, so {self._name} can't listen there; set RSTAR_VLLM_PORT to another")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as sink:
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *self._command,
                    *("--host", HOST, "--port", str(port)),
                    env={**os.environ, **self._environment},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    start_new_session=True,
                    preexec_fn=asked_to_end_with_parent,
                )
            except OSError:
                raise UserError(f"{self._command[0]}: can't be run; make vllm, or set RSTAR_VLLM_PYTHON") from None
        return f"http://{HOST}:{port}"

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._child.returncode if self._child else -1

    async def stop(self) -> None:
        """End it and every process that it started, whether or not it is alive itself."""
        if self._child is None:
            return
        child, self._child = self._child, None
        for number in (signal.SIGTERM, signal.SIGKILL):
            if child.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, number)
                with suppress(TimeoutError):
                    await asyncio.wait_for(child.wait(), _GRACE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)

    def complaint(self) -> str:
        """The last line of its log that names an error, or the last of all."""
        try:
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        named = [line for line in lines if "Error" in line or "error:" in line]
        return (named or lines or ["no output"])[-1][-300:]
