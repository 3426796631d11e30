"""Asked to end, a process ends in time with a line; without room, a stage does not start or says so."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rstar_core.errors import UserError
from rstar_core.machine.variables import MIN_FREE_MIB
from tasks.runner import disk
from tasks.runner.signals import SECONDS

ROOT = Path(__file__).parents[3]
POLITE = "import time; print('ready', flush=True); time.sleep(60)"
HUNG = """
import time
while True:
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("work", [POLITE, HUNG])
def test_it_ends_in_time_with_a_code_and_a_line(number: signal.Signals, work: str) -> None:
    code = f"""
import sys
from tasks.runner.signals import end_in_time, say_ended
end_in_time("go on")
try:
    exec({work!r})
except KeyboardInterrupt:
    sys.exit(say_ended("go on"))
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(timeout=SECONDS + 30) == 128 + number
    assert process.stderr.read() == f"ended by {number.name}; go on\n"


def test_a_stage_that_may_not_fit_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").write_bytes(bytes(1000))
    disk.check_room([Path("weights")])
    usage = shutil.disk_usage(".")._replace(free=(256 << 20) + 3999)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"256 MiB are free, and this stage may need 256; make room, then"):
        disk.check_room([Path("weights")])
    monkeypatch.setenv(MIN_FREE_MIB.name, "1")
    disk.check_room([Path("weights")])


def test_the_floor_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIN_FREE_MIB.name, "much")
    with pytest.raises(UserError, match="RSTAR_MIN_FREE_MIB: must be a whole number, not 'much'"):
        disk.check_room([])


def can_mount(folder: Path) -> bool:
    if os.geteuid() or not shutil.which("mount"):
        return False
    return not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True).returncode


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount(folder):
        pytest.skip("mounts are refused here")
    yield folder
    time.sleep(0)
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_costs_nothing_that_was_finished(small_disk: Path, tmp_path: Path) -> None:
    """A real file system of 2 MiB: the journal stops with a line, and goes on when there is room."""
    from tests.unit.journals import journal_at

    value = random.Random(1).randbytes(40_000).hex()  # which cannot be packed to less than half
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_000_000))
    journal, done = journal_at(small_disk / "work"), []
    with pytest.raises(UserError, match=r"No space left on device; .* finished records are safe; make room"):
        for number in range(100):
            journal.append(str(number), value)
            done.append(str(number))
    journal.close()
    assert len(done) > 10
    filler.unlink()
    again = journal_at(small_disk / "work")
    assert len(again) == len(done) and all(found == value for found in again.read(done))
    again.append(str(len(done)), "y")
    assert str(len(done)) in journal_at(small_disk / "work")
    again.close()
