"""What kills and full disks leave of DVC's own files."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from flows.healing import heal, heal_rwlock, settle
from rstar_core.errors import UserError
from tasks.runner.lock import read_lock

WHOLE = """schema: '2.0'
stages:
  one:
    cmd: exec x
    outs:
    - path: a
      md5: '1'
  two@r1:
    cmd: exec y
    outs:
    - path: b
      md5: '2'
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    yield tmp_path


@pytest.mark.parametrize("end", range(len(WHOLE)))
def test_a_lock_torn_anywhere_keeps_its_whole_stages(end: int) -> None:
    Path("dvc.lock").write_text(WHOLE[:end])
    heal()
    stages = read_lock()
    assert list(stages) == ["one", "two@r1"][: len(stages)]
    assert "one" in stages or end < WHOLE.index("two")


def test_a_whole_lock_stays(here: Path) -> None:
    Path("dvc.lock").write_text(WHOLE)
    before = Path("dvc.lock").stat()
    heal()
    assert Path("dvc.lock").stat() == before


def test_stages_that_ended_in_any_order_stand_in_the_order_of_the_graph() -> None:
    head, one = WHOLE[: WHOLE.index("  one")], WHOLE[WHOLE.index("  one") : WHOLE.index("  two")]
    two, gone = WHOLE[WHOLE.index("  two") :], "  gone@r9:\n    cmd: exec z\n"
    Path("dvc.lock").write_text(head + gone + two + one)
    settle(["one", "two@r1", "three"])
    assert Path("dvc.lock").read_text() == head + one + two + gone


def test_who_reads_waits_for_who_writes() -> None:
    """DVC writes in place, and has locked the folder meanwhile."""
    Path("dvc.lock").write_text(WHOLE[:30])
    with Path(".dvc/tmp/lock").open("w") as writer, ThreadPoolExecutor(1) as reader:
        fcntl.flock(writer, fcntl.LOCK_EX)
        read = reader.submit(read_lock)
        assert not wait([read], timeout=0.3).done
        Path("dvc.lock").write_text(WHOLE)
        fcntl.flock(writer, fcntl.LOCK_UN)
        assert list(read.result()) == ["one", "two@r1"]


def test_a_torn_lock_is_one_line_to_who_only_reads_it() -> None:
    Path("dvc.lock").write_text(WHOLE[:30])
    with pytest.raises(UserError, match=r"^dvc\.lock: not whole; `git checkout dvc\.lock`"):
        read_lock()


RWLOCK = Path(".dvc/tmp/rwlock")


def entry(pid: int) -> dict[str, object]:
    return {"pid": pid, "cmd": "dvc repro"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"read": 1}', '{"write": {"a": {}}}', json.dumps({"read": {"a": [entry(os.getpid())]}})],
    ids=["empty", "torn", "a list", "no readers", "no process", "another's process"],
)
def test_a_rwlock_of_no_process_of_dvc_is_removed(text: str) -> None:
    RWLOCK.write_text(text)
    heal_rwlock()
    assert not RWLOCK.exists()


@pytest.mark.parametrize("kind", ["write", "read"])
def test_one_of_a_living_dvc_stays(kind: str) -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, "dvc", "repro"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        its = entry(process.pid)
        RWLOCK.write_text(json.dumps({kind: {"a": its if kind == "write" else [its]}}))
        heal_rwlock()
        assert RWLOCK.exists()
        process.kill()


def test_none_is_no_fault() -> None:
    heal()
