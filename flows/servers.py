"""Servers on this machine that live as long as the command that needs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from flows.guarded import SERVER_VARIABLE, password
from rstar_core.errors import UserError
from rstar_core.machine.ports import HOST, free_port

Child = subprocess.Popen[bytes]
STARTUP_SECONDS = 120  # the first start migrates an empty database: 20 s on a quiet machine


def nothing() -> None:
    """What there is to do while a server starts."""


@contextmanager
def temporary_prefect(meanwhile: Callable[[], None] = nothing) -> Iterator[tuple[str, str]]:
    """API address and password of a Prefect server without UI, in ``PREFECT_HOME``, for the length of the block.

    ``meanwhile`` is done while it starts.
    Prefect has such a server of its own; that one outlives a killed flow.
    """
    auth = password()
    environment = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT_SERVER_UI_ENABLED": "false"}
    port = free_port()
    with prefect_server("prefect-temporary", port, auth, environment, meanwhile):
        yield f"http://{HOST}:{port}/api", auth


def prefect_server(
    name: str, port: int, auth: str, environment: Mapping[str, str], meanwhile: Callable[[], None] = nothing
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Prefect's server on this machine, closed to pages of others (``flows/guarded.py``)."""
    where = ["--host", HOST, "--port", str(port), "--log-level", "error"]
    own = {SERVER_VARIABLE: auth, "PREFECT__SERVER_FINAL": "1"}
    command = ["uvicorn", "--factory", "flows.guarded:create_prefect", *where]
    return server(name, command, f"http://{HOST}:{port}/api/health", {**own, **environment}, meanwhile)


@contextmanager
def server(
    name: str,
    module: Sequence[str],
    health: str,
    environment: Mapping[str, str],
    meanwhile: Callable[[], None] = nothing,
) -> Iterator[Child]:
    """Run ``python -m <module>`` until the block ends; enter it once ``health`` answers. Until then, ``meanwhile``.

    Raises:
        UserError: the server ended or did not answer in time.
    """
    with process(name, module, environment) as child:
        meanwhile()
        _wait_until_healthy(name, child, health)
        yield child


@contextmanager
def process(name: str, module: Sequence[str], environment: Mapping[str, str]) -> Iterator[Child]:
    """Run ``python -m <module>`` until the block ends, then end it and all that it started. Its log: run/<name>.log.

    All of it ends, too, when this process is killed.
    """
    log = log_of(name)
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "flows.warden", *module]
    with log.open("wb") as sink:
        child = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=sink, stderr=sink, start_new_session=True
        )
        try:
            yield child
        finally:
            _end(child)


def log_of(name: str) -> Path:
    return Path("run") / f"{name}.log"


def _wait_until_healthy(name: str, child: Child, health: str) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while not answers(health):
        if child.poll() is not None:
            raise UserError(f"{name}: the server ended with exit code {child.returncode}; its log is {log_of(name)}")
        if time.monotonic() > deadline:
            raise UserError(f"{name}: no answer from {health} in {STARTUP_SECONDS} s; its log is {log_of(name)}")
        time.sleep(0.2)


def _end(child: Child) -> None:
    """Ask the child's whole process group to end, then make it."""
    for number, seconds in ((signal.SIGTERM, 8), (signal.SIGKILL, 8)):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, number)
            child.wait(timeout=seconds)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
