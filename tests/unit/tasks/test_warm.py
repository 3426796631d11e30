"""A stage in a copy of a warm process is the stage itself: its word, its exit code, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dvc
import psutil
import pytest

from rstar_core.machine.variables import WARM_SOCKET

ROOT = Path(__file__).parents[3]
# No library need be loaded to see copies being made; a command "wait" tells its pid and waits to be ended.
SERVER = """
import os, pathlib, time
from tasks import __main__
from tasks.runner import warm
warm.LIBRARIES = ()
def wait(argv):
    "Wait."
    pathlib.Path(argv[0]).write_text(str(os.getpid()))
    time.sleep(60)
def say(argv):
    print(os.getcwd(), os.environ["GREETING"], "RSTAR_WARM_SOCKET" in os.environ, *argv)
    raise ZeroDivisionError
usual, ours = __main__.run, {"wait": wait, "say": say}
__main__.run = lambda argv: ours[argv[0]](argv[1:]) if argv[0] in ours else usual(argv)
dvc = warm.PROGRAMS["dvc"]
warm.PROGRAMS["dvc"] = lambda argv: print("a copy", os.getpgid(0) == os.getpid(), flush=True) or dvc(argv)
warm.serve(pathlib.Path("warm.sock"))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as its:
        wait_until((tmp_path / "warm.sock").exists)
        yield its
        its.kill()


def call(folder: Path, *argv: str, program: Sequence[str] = ("tasks",), **more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), WARM_SOCKET.name: "warm.sock", **more}
    command = [sys.executable, "-m", *program, *argv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waiting(folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A caller, and its copy."""
    caller, file = call(folder, "wait", "pid"), folder / "pid"
    wait_until(lambda: file.exists() and file.read_text())
    return caller, psutil.Process(int(file.read_text()))


def test_a_copy_has_the_callers_folder_environment_and_streams(server: object, tmp_path: Path) -> None:
    said, errors = (caller := call(tmp_path, "say", "--it", GREETING="hello")).communicate(timeout=30)
    assert said == f"{tmp_path} hello False --it\n", "and it is not to ask for another copy"
    assert "ZeroDivisionError" in errors and caller.returncode == 1


def test_what_a_user_can_mend_is_told_as_ever(server: object, tmp_path: Path) -> None:
    _, errors = (caller := call(tmp_path, "nonsense")).communicate(timeout=30)
    assert errors.startswith("error: 'nonsense' is not a stage") and caller.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_caller_that_is_asked_to_end_ends_as_its_copy_does(server: object, tmp_path: Path, number: int) -> None:
    caller, copy = waiting(tmp_path)
    caller.send_signal(number)
    _, errors = caller.communicate(timeout=30)
    assert caller.returncode == 128 + number and "the same command continues" in errors
    assert not copy.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_nobody_outlives_a_kill(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    caller, copy = waiting(tmp_path)
    caller.kill()
    caller.wait()
    copy.wait(20)
    (tmp_path / "pid").unlink()
    caller, copy = waiting(tmp_path)
    server.kill()
    _, errors = caller.communicate(timeout=30)
    assert caller.returncode == 1 and "has ended; the same command continues" in errors
    wait_until(lambda: not copy.is_running())


def test_dvc_is_a_copy_too(server: object, tmp_path: Path) -> None:
    said, _ = (caller := call(tmp_path, "--version", program=("flows.mortal", "dvc"))).communicate(timeout=60)
    assert said.splitlines() == ["a copy True", dvc.__version__] and caller.returncode == 0


def test_without_a_warm_process_dvc_begins_as_any_program(tmp_path: Path) -> None:
    said, _ = (caller := call(tmp_path, "--version", program=("flows.mortal", "dvc"))).communicate(timeout=60)
    assert said.splitlines() == [dvc.__version__] and caller.returncode == 0


def test_without_a_warm_process_a_stage_begins_as_any_program(tmp_path: Path) -> None:
    _, errors = (caller := call(tmp_path, "nonsense")).communicate(timeout=30)
    assert errors.startswith("error: 'nonsense' is not a stage") and caller.returncode == 2
