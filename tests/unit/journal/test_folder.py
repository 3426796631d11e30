"""What a stage recorded is there after any interruption, once, and nothing else is."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.errors import UserError
from rstar_core.journal.folder import FolderJournal
from rstar_core.journal.frames import Place, frame
from tests.unit.journals import journal_at

ROOT = Path(__file__).parents[3]
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "work"


def fill(path: Path, *keys: str) -> Path:
    """One worker's life; its segment."""
    before = set(path.glob("*.segment"))
    journal = journal_at(path)
    for key in keys:
        journal.append(key, {"of": key})
    journal.close()
    (segment,) = set(path.glob("*.segment")) - before
    return segment


def held(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """What a worker that starts now finds under those of ``keys`` that it finds."""
    journal = journal_at(path)
    found = [key for key in keys if key in journal]
    assert len(found) == len(journal)
    return dict(zip(found, journal.read(found), strict=True))


def records(*keys: str) -> dict[str, Any]:
    return {key: {"of": key} for key in keys}


# --- one worker after another ---------------------------------------------------------------------------------


def test_records_are_there_for_the_next_worker(path: Path) -> None:
    fill(path, "a", "b")
    assert held(path, "abc") == records("a", "b")
    fill(path, "c")
    assert held(path, "abc") == records("a", "b", "c")
    assert len(list(path.glob("*.segment"))) == 2, "no segment is opened for appending again"


def test_a_record_is_there_when_append_returns(path: Path) -> None:
    journal = journal_at(path)
    journal.append("a", {"of": "a"})
    assert held(path, "a") == records("a")


def test_a_worker_with_nothing_to_record_leaves_no_segment(path: Path) -> None:
    journal_at(path).close()
    assert not list(path.glob("*.segment"))


def test_a_folder_that_is_called_like_a_segment_is_none(path: Path) -> None:
    fill(path, "a")
    (path / "x.segment").mkdir()
    assert held(path, ["a"]) == records("a")


def test_values_come_in_the_order_that_is_asked_for_one_at_a_time(path: Path) -> None:
    fill(path, "a", "b", "c")
    read = journal_at(path).read(iter("cab"))
    assert [next(read), next(read), next(read)] == [{"of": key} for key in "cab"]


def test_the_first_record_of_a_key_counts(path: Path) -> None:
    journal = journal_at(path)
    journal.append("a", 1)
    journal.append("a", 2)
    journal.close()
    fill(path, "a")
    assert held(path, "a") == {"a": 1}


def test_the_key_is_beside_the_records(path: Path) -> None:
    fill(path, "a")
    assert json.loads((path / "key.json").read_text())["inputs"] == {"problems": "1a"}


@given(st.dictionaries(st.text(), values, max_size=4))
def test_any_plain_value_comes_back(made: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = journal_at(Path(folder) / "work")
        for key, value in made.items():
            journal.append(key, value)
        assert held(Path(folder) / "work", list(made)) == made
        journal.close()


# --- torn and altered -----------------------------------------------------------------------------------------


def test_a_record_torn_at_any_byte_is_dropped_and_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment = fill(path, "a", "b")
    content = segment.read_bytes()
    start = len(content) // 2
    for size in range(start + 1, len(content)):
        segment.write_bytes(content[:size])
        capsys.readouterr()
        assert held(path, "ab") == records("a")
        said = f"{segment}: the {size - start} bytes from byte {start} on are a torn tail"
        assert said in capsys.readouterr().err
    assert fill(path, "b") != segment
    assert held(path, "ab") == records("a", "b")


@pytest.mark.parametrize("size", [1, 8, 4096])
def test_zeros_at_the_end_are_no_records(path: Path, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What some file systems leave of an append that the power failed."""
    with fill(path, "a").open("ab") as handle:
        handle.write(bytes(size))
    assert held(path, "a") == records("a")
    assert "torn tail" in capsys.readouterr().err


def test_nothing_from_an_altered_byte_on_is_believed_and_the_place_is_named(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment = fill(path, "a", "b", "c")
    content = segment.read_bytes()
    size = len(content) // 3
    for place in range(size, 2 * size):
        altered = bytearray(content)
        altered[place] ^= 1
        segment.write_bytes(altered)
        assert held(path, "abc") == records("a")
        assert f"{segment}" in (said := capsys.readouterr().err) and f"byte {size}" in said
    assert "bad frame" in said


def test_200_random_bytes_make_no_wrong_record(path: Path) -> None:
    keys = [str(number) for number in range(40)]
    segment = fill(path, *keys)
    content = segment.read_bytes()
    dice = random.Random(1)
    for _ in range(200):
        altered = bytearray(content)
        place = dice.randrange(len(content))
        altered[place] ^= dice.randrange(1, 256)
        segment.write_bytes(altered)
        found = held(path, keys)
        assert found == records(*keys[: len(found)]) and len(found) < 40
    altered = bytearray(content)
    for place in dice.sample(range(len(content)), 200):
        altered[place] ^= dice.randrange(1, 256)
    segment.write_bytes(altered)
    assert held(path, keys).items() <= records(*keys).items()


def test_a_record_that_changes_after_it_was_found_is_not_read(path: Path) -> None:
    segment = fill(path, "a")
    journal = journal_at(path)
    content = bytearray(segment.read_bytes())
    content[-3] ^= 1
    segment.write_bytes(content)
    with pytest.raises(UserError, match=r"segment: the frame at byte 0 has changed"):
        list(journal.read(["a"]))


# --- no room --------------------------------------------------------------------------------------------------


class Full:
    """A file on a disk that has room for so many bytes more."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        part = data[: self.room]
        self.room -= len(part)
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written: int = self.file.write(part)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 1, 9, 20])
def test_a_full_disk_is_one_line_and_what_was_recorded_is_safe(path: Path, room: int) -> None:
    journal = journal_at(path)
    journal.append("a", {"of": "a"})
    real = journal._handle
    journal._handle = Full(real, room)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"No space left on device; 1 finished records are safe; make room, then"):
        journal.append("b", {"of": "b"})
    journal._handle = real
    journal.append("c", {"of": "c"})
    journal.close()
    assert held(path, "abc") == records("a", "c")


# --- two workers at once --------------------------------------------------------------------------------------


def test_a_key_is_claimed_by_one_of_two_living_workers(path: Path) -> None:
    one, two = journal_at(path), journal_at(path)
    assert one.claim("a") and not two.claim("a") and one.claim("a")
    assert two.claim("b")
    one.append("a", 1)
    assert not one.claim("a") and not two.claim("a") and "a" in two


def test_the_claims_of_the_dead_are_free_at_once(path: Path) -> None:
    code = f"from tests.unit.journals import *; j = journal_at(Path({str(path)!r})); print(j.claim('a')); input()"
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None and worker.stdout.readline() == "True\n"
    journal = journal_at(path)
    assert not journal.claim("a")
    worker.kill()
    worker.wait()
    assert journal.claim("a")


def test_two_records_of_one_key_are_one(path: Path) -> None:
    one, two = journal_at(path), journal_at(path)
    one.append("a", 1)
    two.append("a", 2)
    two.append("b", 2)
    one.refresh()
    for journal in (one, two, journal_at(path)):
        assert list(journal.read("ab")) == [1, 2]
    assert sum(file.stat().st_size for file in path.glob("*.segment")) == 2 * len(frame("a", 1))


def test_what_a_living_worker_is_writing_is_no_torn_tail(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = journal_at(path), journal_at(path)
    one.append("a", 1)
    assert one._handle is not None
    one._handle.write(b"half a frame")
    two.refresh()
    assert "a" in two and capsys.readouterr().err == ""


def test_what_a_worker_killed_while_it_discarded_has_left_goes_with_the_next(path: Path) -> None:
    left = path.with_name(f".gone-{path.name}-0123")
    left.mkdir(parents=True)
    (left / "segment").touch()
    journal_at(path).discard()
    assert list(path.parent.iterdir()) == []


def test_a_discarded_journal_is_gone_unless_another_worker_needs_it(path: Path) -> None:
    one, two = journal_at(path), journal_at(path)
    one.append("a", 1)
    two.append("b", 2)
    one.discard()
    assert list(two.read("ab")) == [1, 2]
    two.discard()
    assert not list(path.parent.iterdir())
    assert held(path, "ab") == {}


def test_eight_processes_record_each_key_once(path: Path) -> None:
    code = f"""
from tests.unit.journals import *
journal = journal_at(Path({str(path)!r}))
mine = 0
for number in range(60):
    if journal.claim(str(number)):
        journal.append(str(number), number)
        mine += 1
print(mine)
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    counts = [int(worker.communicate()[0]) for worker in workers]
    assert sum(counts) == 60
    journal = journal_at(path)
    assert list(journal.read(map(str, range(60)))) == list(range(60))


def test_memory_holds_places_and_no_records(path: Path) -> None:
    fill(path, "a")
    assert journal_at(path)._places["a"][1] == Place(0, len(frame("a", {"of": "a"})))
    assert isinstance(journal_at(path), FolderJournal)
