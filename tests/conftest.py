from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

os.environ.setdefault("RSTAR_SEARCH_PROCESSES", "1")  # another process would not see what a test replaces

# Whoever runs the tests in the background may have had them ignore it, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("steady", deadline=None)  # a busy machine is no failure
settings.load_profile("steady")

TRACKER = "multiprocessing.resource_tracker"  # Python's own, ends with its parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*.txt; then review the diff")


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Whoever starts a process ends it: one left behind would hold the output of whatever runs the tests."""
    before = set(psutil.Process().children(recursive=True))  # other workers are not ours
    yield
    left = [one for one in psutil.Process().children(recursive=True) if one not in before]
    commands = {one: command for one in left if (command := command_of(one)) and TRACKER not in command}
    _, alive = psutil.wait_procs(commands, timeout=10)
    left_behind = {one.pid: commands[one] for one in alive if one.is_running()}
    assert not left_behind, f"started and not ended: {left_behind}"


def command_of(process: psutil.Process) -> str:
    """Its command line, or nothing where it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
