"""Servers come back when they die, and nothing outlives the broker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rstar_core.errors import UserError
from rstar_core.sandbox import server
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.broker import ForkSandbox
from tests.unit.sandbox.shell import EVERY_SNAPSHOT, LIMITS, comes_true, descendants, open_shell

ROOT = Path(__file__).parents[3]
BROKER = """
import asyncio
from rstar_core.sandbox.broker import ForkSandbox
from tests.unit.sandbox.shell import EVERY_SNAPSHOT, LIMITS

async def main():
    async with ForkSandbox(LIMITS, 1, EVERY_SNAPSHOT, ()) as sandbox:
        for n in range(6):
            await sandbox.run([], f"x = {n}")
            await sandbox.run([f"x = {n}"], "y = 1")
        run = asyncio.create_task(sandbox.run([], "import time; time.sleep(1000)"))
        await sandbox.run([], "x = 1")
        print(*sandbox.server_pids, flush=True)
        await run

asyncio.run(main())
"""


def zygote_of(server_pid: int) -> int:
    """Process 1 of the server's namespace."""
    return min(descendants(server_pid) - {server_pid})


def test_a_run_leaves_no_process() -> None:
    with open_shell(num_servers=1) as shell:
        (server_pid,) = shell.sandbox.server_pids
        base = descendants(server_pid)
        shell.run("pass")
        assert descendants(server_pid) == base


def test_a_closed_sandbox_leaves_no_process() -> None:
    with open_shell() as shell:
        shell.run("pass")
        pids = set().union(*map(descendants, shell.sandbox.server_pids))
        assert len(pids) == 4
    assert not [pid for pid in pids if descendants(pid)]


def test_closing_ends_runs_under_way() -> None:
    async def leave() -> tuple[set[int], Outcome]:
        async with ForkSandbox(LIMITS, 1, libraries=()) as sandbox:
            (server_pid,) = sandbox.server_pids
            run = asyncio.create_task(sandbox.run([], "import time; time.sleep(1000)"))
            await sandbox.run([], "pass")
            pids = descendants(server_pid)
            run.cancel()
        return pids, await asyncio.gather(run, return_exceptions=True)

    pids, _ = asyncio.run(leave())
    assert len(pids) == 3
    assert not [pid for pid in pids if descendants(pid)]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [zygote_of, lambda pid: pid], ids=["zygote", "its parent"])
def test_the_run_after_a_servers_death_is_right(victim: Callable[[int], int]) -> None:
    with open_shell(num_servers=1) as shell:
        shell.run("pass")
        os.kill(victim(shell.sandbox.server_pids[0]), signal.SIGKILL)
        assert [outcome.stdout for outcome in shell.run_all(["print(1 + 1)"] * 6)] == ["2\n"] * 6


def kill_server_while_running(times: int) -> Outcome:
    async def attempt() -> Outcome:
        async with ForkSandbox(LIMITS, 1, libraries=()) as sandbox:
            run = asyncio.create_task(sandbox.run([], "import time; time.sleep(0.7); print('through')"))
            killed: set[int] = set()
            while len(killed) < times:
                await asyncio.sleep(0.05)
                (pid,) = sandbox.server_pids
                if pid not in killed and len(descendants(pid)) == 3:
                    os.kill(zygote_of(pid), signal.SIGKILL)
                    killed.add(pid)
            return await run

    return asyncio.run(attempt())


@pytest.mark.slow
def test_a_run_whose_server_died_is_tried_again() -> None:
    assert kill_server_while_running(times=1).stdout == "through\n"


@pytest.mark.slow
def test_a_run_whose_server_dies_twice_is_killed() -> None:
    assert kill_server_while_running(times=2).status is Status.KILLED


@pytest.mark.slow
def test_a_server_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REAP_SECONDS", 0.2)
    with open_shell(LIMITS.model_copy(update={"wall_seconds": 0.5}), num_servers=1) as shell:
        (pid,) = shell.sandbox.server_pids
        monkeypatch.setattr(server, "STOP_SECONDS", 0.2)
        os.kill(zygote_of(pid), signal.SIGSTOP)
        assert shell.run("print(1)").stdout == "1\n"
        assert not descendants(pid)


NUM_SNAPSHOTS = 12


def test_nothing_outlives_a_killed_broker_by_a_second() -> None:
    """Neither servers nor snapshots nor a run."""
    broker = subprocess.Popen([sys.executable, "-c", BROKER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert broker.stdout
    pids = descendants(int(broker.stdout.readline()))
    assert len(pids) == 2 + NUM_SNAPSHOTS + 1
    broker.kill()
    broker.communicate()
    assert comes_true(lambda: not any(map(descendants, pids)), seconds=1.0)


@pytest.mark.parametrize("victim", [zygote_of, lambda pid: pid], ids=["zygote", "its parent"])
@pytest.mark.slow
def test_nothing_outlives_a_killed_server_by_a_second(victim: Callable[[int], int]) -> None:
    with open_shell(num_servers=1, budget=EVERY_SNAPSHOT) as shell:
        for number in range(NUM_SNAPSHOTS):
            shell.run(f"x = {number}")
        (server_pid,) = shell.sandbox.server_pids
        pids = descendants(server_pid)
        assert len(pids) == 2 + NUM_SNAPSHOTS
        os.kill(victim(server_pid), signal.SIGKILL)
        assert comes_true(lambda: not any(map(descendants, pids)), seconds=1.0)
        assert shell.run("print(x)", "x = 3").stdout == "3\n"


@pytest.mark.slow
def test_a_cancelled_run_gives_its_place_back() -> None:
    async def cancel_and_go_on() -> str:
        async with ForkSandbox(LIMITS, 1, libraries=()) as sandbox:
            for _ in range(5):
                run = asyncio.create_task(sandbox.run([], "import time; time.sleep(1000)"))
                await asyncio.sleep(0.05)
                run.cancel()
            return (await sandbox.run([], "print('free')")).stdout

    assert asyncio.run(cancel_and_go_on()) == "free\n"


def test_a_server_that_can_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "INTERPRETER_FLAGS", ("-c", "raise SystemExit"))
    with pytest.raises(UserError, match="did not start"), open_shell():
        pass


def test_a_server_that_is_killed_while_it_starts_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn, spawned = server._spawn, []

    def killing_the_first(*arguments: Any) -> subprocess.Popen[bytes]:
        spawned.append(spawn(*arguments))
        if len(spawned) == 1:
            spawned[0].kill()
        return spawned[-1]

    monkeypatch.setattr(server, "_spawn", killing_the_first)
    with open_shell(num_servers=1) as shell:
        assert shell.run("print(1)").stdout == "1\n"
    assert len(spawned) == 2
