"""The slow path: a command that runs Python, here without a container around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rstar_core.errors import UserError
from rstar_core.machine.variables import SANDBOX_COMMAND
from rstar_core.sandbox.__main__ import main
from rstar_core.sandbox.base import Outcome, Raised, Status
from rstar_core.sandbox.container import ContainerSandbox
from rstar_core.sandbox.load import open_sandbox
from rstar_core.sandbox.wire import CUT_MARK
from tests.unit.sandbox.shell import LIMITS

PARAMS = str(Path(__file__).parents[3] / "params.yaml")


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(SANDBOX_COMMAND.name, sys.executable)
    yield


def run(*steps: str) -> Outcome:
    async def one() -> Outcome:
        async with open_sandbox(LIMITS) as sandbox:
            return await sandbox.run(steps[:-1], steps[-1])

    return asyncio.run(one())


def test_the_command_is_the_sandbox_where_it_is_named(forced: None) -> None:
    assert isinstance(open_sandbox(LIMITS), ContainerSandbox) and open_sandbox(LIMITS).level == "container"


def test_without_linux_and_without_a_command_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SANDBOX_COMMAND.name, raising=False)
    monkeypatch.setattr("rstar_core.sandbox.load.sys.platform", "darwin")
    with pytest.raises(UserError, match=f"needs Linux.*{SANDBOX_COMMAND.name}"):
        open_sandbox(LIMITS)


@pytest.mark.parametrize("command", ["/nowhere/docker run", "/bin/false", "'"])
def test_a_command_that_runs_no_python_is_an_error(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SANDBOX_COMMAND.name, command)
    with pytest.raises(UserError, match=SANDBOX_COMMAND.name):
        run("pass")


def test_a_step_goes_on_from_its_parents(forced: None) -> None:
    outcome = run("print('parent')\nx = [1]", "x.append(2)", "print(x, hash('a') == hash('a'))")
    assert (outcome.status, outcome.stdout) == (Status.OK, "[1, 2] True\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status", "error", "number"),
    [
        ("x = 1\n1 / 0", Status.ERROR, "ZeroDivisionError: division by zero", 0),
        ("import os; os._exit(0)", Status.KILLED, "it exited without a result", 0),
        ("import os; os.kill(os.getpid(), 11)", Status.KILLED, "ended by signal 11", 11),
        ("while True: pass", Status.KILLED, "CPU limit of 1 s a step exceeded", signal.SIGXCPU),
        ("import time; time.sleep(99)", Status.TIMEOUT, "wall limit of 2 s exceeded", signal.SIGKILL),
        ("x = bytearray(10**10)", Status.ERROR, "MemoryError", 0),
        ("open('/tmp/rstar-container', 'w').write('x' * 9999)", Status.ERROR, "OSError: [Errno 27] File too large", 0),
    ],
)
def test_outcomes_are_those_of_the_other_sandbox(
    code: str, status: Status, error: str, number: int, forced: None
) -> None:
    outcome = run(code)
    assert (outcome.status, outcome.error, outcome.signal) == (status, error, number)
    Path("/tmp/rstar-container").unlink(missing_ok=True)


def test_an_error_is_typed_and_one_of_a_parent_told_apart(forced: None) -> None:
    outcome = run("\n1 / 0", "print(1)")
    assert outcome.raised == Raised("ZeroDivisionError", "division by zero", 2)
    assert outcome.error == "prefix: ZeroDivisionError: division by zero"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import glob, os\nfor n in map(int, map(os.path.basename, glob.glob('/proc/self/fd/*'))):\n"
        "    try: os.write(n, b'\\xff' * 99)\n    except OSError: pass",
        "import glob, os\nfor n in map(int, map(os.path.basename, glob.glob('/proc/self/fd/*'))):\n"
        "    try: os.write(n, b'\\0\\0\\0\\2[]')\n    except OSError: pass",
    ],
)
def test_what_is_no_reply_is_a_protocol_error(code: str, forced: None) -> None:
    assert run(code).status is Status.PROTOCOL


@pytest.mark.slow
def test_stdout_is_capped(forced: None) -> None:
    assert run("print('a' * 10**6)").stdout == "a" * 200 + CUT_MARK


@pytest.mark.slow
def test_a_large_source_arrives(forced: None) -> None:
    assert run(f"print(len('{'a' * 3_000_000}'))").stdout == "3000000\n"


@pytest.mark.slow
def test_runs_repeat(forced: None) -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.rand(), {'x', 'y', 'z'})"
    assert len({run(code).stdout for _ in range(2)}) == 1


@pytest.mark.slow
def test_no_process_is_left(forced: None) -> None:
    run("import os\npid = os.fork()\nif pid == 0:\n    while True: pass\nprint(pid)")
    own = {int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) in (1, os.getpid())}
    assert not [pid for pid in own if b"rstar_core.sandbox.interpreter" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_the_command_line_uses_it(forced: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "snippets.jsonl"
    file.write_text(json.dumps({"name": "two", "code": "print(1 + 1)"}))
    assert main(["--jsonl", str(file), "--params", PARAMS, "--tree"]) == 0
    assert json.loads(capsys.readouterr().out)["stdout"] == "2\n"
    assert main(["--probe", "--params", PARAMS]) == 0
    assert capsys.readouterr().out.startswith("container")
