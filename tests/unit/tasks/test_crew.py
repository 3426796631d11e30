"""What a worker on another machine has in place of the stage's folder and journal. (With Ray itself: tests/ray.)"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rstar_core.errors import UserError
from rstar_core.journal.key import JournalKey, journal_key
from rstar_core.machine.variables import RAY_ADDRESS
from tasks.runner.crew import DistantJournal, Scribe, pack, unpack
from tasks.runner.together import do_together


class Near(DistantJournal):
    """Asks a scribe of this process; ``asked`` are the questions."""

    def __init__(self, scribe: Scribe) -> None:
        super().__init__(scribe)
        self.asked: list[str] = []

    def _ask(self, name: str, *arguments: Any) -> Any:
        self.asked.append(name)
        return getattr(self._scribe, name)(*arguments)


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JournalKey:
    monkeypatch.chdir(tmp_path)
    Path("input").write_text("1")
    return journal_key("synthesize", "r1", (Path("input"),), {})


def test_two_workers_share_a_journal_through_their_scribes(key: JournalKey, tmp_path: Path) -> None:
    one, other = (Near(Scribe(str(tmp_path), key)) for _ in range(2))
    assert one.claim("a") and not other.claim("a") and "a" not in other
    one.append("a", {"x": 1})
    assert "a" in one and not other.claim("a")
    assert "a" not in other, "it has asked before"
    other.refresh()
    assert "a" in other and list(other.read(["a"])) == [{"x": 1}] and len(other) == 1


def test_what_is_known_is_not_asked_for_again(key: JournalKey, tmp_path: Path) -> None:
    journal = Near(Scribe(str(tmp_path), key))
    journal.append("a", 1)
    journal.asked.clear()
    assert "a" in journal and "b" not in journal and "b" not in journal
    assert journal.asked == ["has"]
    journal.refresh()
    assert journal.asked == ["has", "has"], "one question, for all that are missing"


def test_records_are_read_in_their_order_many_at_a_question(key: JournalKey, tmp_path: Path) -> None:
    journal = Near(Scribe(str(tmp_path), key))
    for number in range(150):
        journal.append(str(number), number)
    journal.asked.clear()
    wanted = list(range(149, -1, -1))
    assert list(journal.read(map(str, wanted))) == wanted
    assert journal.asked == ["read"] * 3


def test_inputs_lie_on_a_node_under_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts/r0/policy").mkdir(parents=True)
    (tmp_path / "artifacts/r0/policy/config.json").write_text("{}")
    (tmp_path / "artifacts/problems.parquet").write_bytes(b"rows")
    packed = pack([Path("artifacts/problems.parquet"), Path("artifacts/r0/policy")])
    unpack(packed, tmp_path / "node")
    assert (tmp_path / "node/artifacts/problems.parquet").read_bytes() == b"rows"
    assert (tmp_path / "node/artifacts/r0/policy/config.json").read_text() == "{}"


class Nothing:
    """Never asked."""


@pytest.mark.parametrize(
    ("has_ray", "message"), [(False, "Ray is not installed; run: make ray"), (True, "no cluster at '127.0.0.1:9'")]
)
def test_without_ray_or_a_cluster_one_line_says_so(
    has_ray: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RAY_ADDRESS.name, "127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "ray", Nothing() if has_ray else None)
    with pytest.raises(UserError, match=message):
        do_together(Nothing(), Nothing())  # type: ignore[arg-type]
