"""Each kind of source as entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import FileSource, ReasoningGymSource, Split, StoriesSource
from rstar_core.errors import UserError
from rstar_core.problems import reasoning_gym as adapter
from rstar_core.problems.filters import Rejection
from rstar_core.problems.load import load_source

NUM_ROWS = 6


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Six rows, the third without an answer."""
    rows = [{"problem": f"Problem {n}", "answer": str(n) if n != 3 else None} for n in range(1, NUM_ROWS + 1)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def file_source(path: str, **fields: Any) -> FileSource:
    return FileSource.model_validate({"kind": "file", "split": "train", "path": path, "source": "here", **fields})


def answers(source: FileSource) -> list[str]:
    return [entry.problem.answer for entry in load_source(source, 0.5).entries]


def test_offset_and_limit_slice_the_valid_rows(path: str) -> None:
    assert answers(file_source(path)) == ["1", "2", "4", "5", "6"]
    assert answers(file_source(path, offset=1, limit=2)) == ["2", "4"]
    assert answers(file_source(path, offset=4, limit=9)) == ["6"]


def test_bad_rows_outside_the_slice_are_still_reported(path: str) -> None:
    assert load_source(file_source(path, limit=1), 0.5).bad == [Rejection(path, 3, "no answer")]


def test_an_offset_beyond_the_file_is_an_error(path: str) -> None:
    with pytest.raises(UserError, match="offset 5 leaves none of its 5 rows"):
        load_source(file_source(path, offset=5), 0.5)


def test_solutions_become_programs_and_the_rest_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "gsm8k.jsonl"
    rows = [
        {"question": "Twice 9?", "answer": "It is <<9*2=18>>18.\n#### 18"},
        {"question": "And so?", "answer": "It is so.\n#### 4"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    loaded = load_source(file_source(str(file), split="demonstrations", solutions="gsm8k"), 0.0)
    assert [entry.code_steps for entry in loaded.entries] == [("# It is 18.\nstep_1 = 9 * 2\nprint(step_1)",)]
    assert loaded.without_program == [Rejection(str(file), 2, "no program: no calculator annotation")]
    assert loaded.bad == []


@pytest.mark.parametrize(("split", "has_steps"), [("demonstrations", True), ("train", False), ("benchmark", False)])
def test_solutions_of_stories_exist_only_as_demonstrations(split: Split, has_steps: bool) -> None:
    source = StoriesSource(kind="stories", split=split, levels=(1, 2), num_per_level=3, seed=1)
    entries = load_source(source, 0.0).entries
    assert [entry.problem.level for entry in entries] == [1, 1, 1, 2, 2, 2]
    assert all(bool(entry.code_steps) == has_steps for entry in entries)


def test_a_family_without_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    item: dict[str, Any] = {"question": "q", "answer": None, "metadata": {}}
    monkeypatch.setattr(adapter, "_create", lambda family, size, seed: [item] * size)
    source = ReasoningGymSource(kind="reasoning_gym", split="train", family="fake", size=4, seed=1)
    with pytest.raises(UserError, match="reasoning_gym/fake: 4 of 4 rows are bad"):
        load_source(source, 0.5)
