"""On a disk that is too small a round stops with one line, wherever that is, and goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import Nursery, finish, made_in, workspace_at

START_KIB, FACTOR = 192, 1.5
OFTEN = 4
pytestmark = pytest.mark.timeout(400)


class SmallDisk:
    """A file system in memory, mounted at ``folder``."""

    def __init__(self, folder: Path, kib: int) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount(f"size={kib}k", "tmpfs")

    def _mount(self, options: str, *what: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, *what, str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)

    def resize(self, kib: int) -> None:
        self._mount(f"remount,size={kib}k")

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        made = SmallDisk(tmp_path / "disk", START_KIB)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounts are refused here: {error}")
    yield made
    made.remove()


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines()


def test_a_round_on_a_disk_that_grows_ends_with_the_same_bytes(
    nursery: Nursery, disk: SmallDisk, tmp_path: Path
) -> None:
    whole = workspace_at(tmp_path / "whole", "scripted")
    finish(nursery, whole)
    workspace, log, kib = workspace_at(disk.folder / "round", "scripted"), tmp_path / "log", START_KIB
    (workspace / "log").symlink_to(log)  # what is said must not be lost for want of room
    stopped: list[tuple[str, str]] = []
    while True:
        log.write_text("")
        nursery.start(workspace)
        if (code := nursery.code()) == 0:
            break
        said = [line for line in lines(log) if line.startswith("error: ")]
        assert code == 2 and len(said) == 1 and "make room" in said[0], "\n".join(lines(log)[-30:])
        assert "Traceback" not in log.read_text()
        stopped.append(((workspace / "now").read_text().partition(" ")[0], said[0]))
        kib = int(kib * FACTOR)
        disk.resize(kib)
    print(f"\nstopped {len(stopped)} times, up to {kib} KiB:", *sorted(set(stopped)), sep="\n")
    assert sum("make room, then the same command continues" in line for _, line in stopped) >= OFTEN
    assert made_in(workspace) == made_in(whole)
    assert not list((workspace / "journal").glob("*"))
