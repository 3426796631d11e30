"""``tasks journals``: what interrupted stages have kept, why it is stale, and its removal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rstar_core.journal import open_journal
from rstar_core.journal.key import journal_key
from rstar_core.machine.variables import JOURNAL
from tasks.__main__ import main

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    for name in ("kept", "changed"):
        Path(name).write_text("before")
    yield tmp_path


def interrupted(name: str, seed: int = 20260) -> Path:
    """A journal of a stage that read the file ``name`` and was stopped after one record."""
    key = journal_key("synthesize", "r1", [Path(name)], {"seed": seed})
    journal = open_journal(key)
    journal.append("tree", {"nodes": 1})
    journal.close()
    return Path(key.name)


@pytest.mark.parametrize("root", ["journal", "elsewhere"])
def test_what_is_stale_is_named_and_removed_and_the_rest_stays(
    root: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(JOURNAL.name, root)
    kept, changed, other_seed = interrupted("kept"), interrupted("changed"), interrupted("kept", seed=1)
    Path("changed").write_text("after")
    assert main(["journals"]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(
        [
            f"{root}/{kept}: its stage goes on from it",
            f"{root}/{changed}: stale: changed has changed",
            f"{root}/{other_seed}: stale: params.yaml: seed has changed",
        ]
    )
    assert main(["journals", "--remove-stale"]) == 0
    assert "removed: 2" in capsys.readouterr().out
    assert [path.name for path in (folder / root).iterdir()] == [kept.name]


def test_an_object_store_is_not_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(JOURNAL.name, "s3://bucket/journals")
    assert main(["journals"]) == 2
    assert capsys.readouterr().err.startswith("error: RSTAR_JOURNAL=s3://bucket/journals: journals on an object store")
