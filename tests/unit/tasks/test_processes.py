"""Helpers share a stage's searches: they end with the context, fail in silence, and bad numbers are told."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from rstar_core.config import Engine
from rstar_core.errors import UserError
from rstar_core.machine.variables import SEARCH_PROCESSES
from tasks.runner.processes import LOG, beside, helped, num_processes

LOCAL = Engine.model_validate({"kind": "local", "dtype": "float64"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def say_who(folder: Path) -> None:
    (folder / str(os.getpid())).write_text("here")
    time.sleep(60)


def fail() -> None:
    raise ZeroDivisionError


def test_helpers_work_while_the_context_lasts_and_no_longer(tmp_path: Path) -> None:
    with helped(partial(say_who, tmp_path), 2):
        deadline = time.monotonic() + 60
        while len(found := list(tmp_path.glob("[0-9]*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert os.getpid() not in (pids := {int(path.name) for path in found})
    assert not any(map(psutil.pid_exists, pids))


def test_a_broken_helper_is_nobodys_trouble_and_its_log_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    with helped(fail, 1):
        time.sleep(0.5)
    assert capfd.readouterr().err == ""
    assert "ZeroDivisionError" in LOG.read_text()


def test_an_error_here_ends_the_helpers_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), helped(partial(say_who, tmp_path), 1):
        raise ZeroDivisionError
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_result_comes_from_another_process() -> None:
    with beside(os.getpid) as result:
        assert result() != os.getpid()


def test_a_process_that_breaks_is_told_and_one_that_is_not_awaited_ends(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with exit code 1"), beside(fail) as result:
        result()
    with pytest.raises(ZeroDivisionError), beside(partial(say_who, tmp_path)):
        raise ZeroDivisionError
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_number_that_is_none_is_told(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEARCH_PROCESSES.name, text)
    with pytest.raises(UserError, match=SEARCH_PROCESSES.name):
        num_processes(LOCAL)


def test_servers_are_asked_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEARCH_PROCESSES.name, "3")
    assert num_processes(LOCAL) == 3
    assert num_processes(LOCAL.model_copy(update={"kind": "vllm"})) == 1
