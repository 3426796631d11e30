"""Published files and folders are whole or not there, and what a killed writer left beside them goes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rstar_core.errors import UserError
from rstar_core.io import write_json
from rstar_core.store.publishing import publish, publish_folder


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_is_not_there_before_its_block_ends(tmp_path: Path) -> None:
    with publish(tmp_path / "a.txt", "w") as file:
        file.write("whole")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_threads_that_publish_one_name_at_once_all_succeed(tmp_path: Path) -> None:
    together = threading.Barrier(8, timeout=30)

    def write(number: int) -> None:
        with publish(tmp_path / "a.txt", "w") as file:
            together.wait()
            file.write(f"{number}" * 1000)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    assert len(set((tmp_path / "a.txt").read_text())) == 1, "one of them, whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_folder_as_it_was(tmp_path: Path) -> None:
    with publish_folder(tmp_path / "a") as folder:
        (folder / "one").write_text("1")
    with pytest.raises(ZeroDivisionError), publish_folder(tmp_path / "a") as folder:
        (folder / "two").write_text(str(1 / 0))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_leftovers_of_killed_writers_go(tmp_path: Path, dead_pid: int) -> None:
    (tmp_path / f".a.png.{dead_pid}.tmp").write_text("half")
    (tmp_path / f".b.{dead_pid}.old").mkdir()
    (tmp_path / f".b.{os.getpid()}.tmp").mkdir()  # of a killed run that had this process id
    with publish(tmp_path / "a.png"), publish_folder(tmp_path / "b"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b"]


def test_what_a_living_writer_or_somebody_else_has_beside_it_stays(tmp_path: Path) -> None:
    names = {f".a.{os.getppid()}.tmp", ".a.notes.tmp", ".ab.1.tmp", ".a.swp"}
    for name in names:
        (tmp_path / name).write_text("")
    with publish(tmp_path / "a"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*names, "a"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_holds_numbers_only(tmp_path: Path, value: float) -> None:
    with pytest.raises(UserError, match=r"not written, .* what is no number"):
        write_json(tmp_path / "metrics.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []
