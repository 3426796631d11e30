"""A journal is found by everything that its records depend on, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstar_core.config import Search
from rstar_core.journal.key import JournalKey, _code, code_version, journal_key

SEARCH = Search(
    uct_c=2.0,
    max_depth=4,
    max_step_tokens=8,
    temperature=1.0,
    top_p=1.0,
    num_parallel_leaves=1,
    settled_after=None,
    record_generations=False,
)


@pytest.fixture(autouse=True)
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy").mkdir()
    Path("policy/weights").write_text("1")
    Path("problems").write_text("2")


def key(stage: str = "synthesize", round_id: str = "r1", search: Search = SEARCH, seed: int = 1) -> JournalKey:
    return journal_key(stage, round_id, (Path("problems"), Path("policy")), {"search": search, "seed": seed})


def test_every_fact_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"uct_c": 1.0, "max_depth": 5, "max_step_tokens": 9, "temperature": 0.5, "top_p": 0.5}
    changes |= {"settled_after": 2, "num_parallel_leaves": 2, "record_generations": True}
    assert set(changes) == set(Search.model_fields)
    searches = [SEARCH.model_copy(update={name: value}) for name, value in changes.items()]
    names = [key(), key(stage="evaluate"), key(round_id="r2"), key(seed=2), *(key(search=one) for one in searches)]
    Path("policy/weights").write_text("3")
    names.append(key())
    Path("problems").write_text("4")
    names.append(key())
    monkeypatch.setattr("rstar_core.journal.key.code_version", lambda stage: "other code")
    names.append(key())
    assert len({one.name for one in names}) == len(names)


def test_nothing_else_counts() -> None:
    assert key().name == key(search=SEARCH.model_copy()).name


def test_the_code_is_what_the_stage_depends_on_by_dvc_yaml() -> None:
    assert code_version("synthesize") != code_version("evaluate")
    assert code_version("train_ppm-control") == code_version("train_ppm")
    assert len({code_version(name) for name in ("train_ppm", "ablate-orm", "no-stage")}) == 3


def test_a_change_of_code_that_a_stage_does_not_run_keeps_its_journal() -> None:
    files = {name: {path.name for path in _code(name)} for name in ("synthesize", "train_ppm", "ablate-orm")}
    assert "loss.py" in files["train_ppm"] and "loss.py" not in files["synthesize"]
    assert {"selection.py", "zygote.py", "synthesize.py"} <= files["synthesize"]
    assert "ablate.py" in files["ablate-orm"]
