"""Families of the reasoning-gym package as problems."""

from __future__ import annotations

from typing import Any

import pytest

from rstar_core.errors import UserError
from rstar_core.problems import reasoning_gym as adapter
from rstar_core.problems.filters import Rejection
from rstar_core.problems.identity import problem_id
from rstar_core.problems.reasoning_gym import generate_family


def test_a_family_gives_the_same_problems_for_the_same_seed() -> None:
    entries, bad = generate_family("chain_sum", 5, 1)
    assert (len(entries), bad) == (5, [])
    assert entries == generate_family("chain_sum", 5, 1)[0]
    assert entries != generate_family("chain_sum", 5, 2)[0]
    problem = entries[0].problem
    assert (problem.id, problem.source, problem.license) == (
        problem_id(problem.text),
        "reasoning_gym/chain_sum",
        "Apache-2.0",
    )


def test_an_unknown_family_names_close_ones() -> None:
    with pytest.raises(UserError, match="'chain_summ' is not a reasoning_gym family; close: chain_sum"):
        generate_family("chain_summ", 5, 1)


def test_a_family_that_needs_settings_is_one_line() -> None:
    with pytest.raises(UserError, match="family 'composite' cannot be used"):
        generate_family("composite", 5, 1)


@pytest.mark.parametrize(("difficulty", "level"), [(2, 2), (1.0, 1), ({"num_terms": 4}, 0), (None, 0), (-1, 0)])
def test_level_and_missing_answers(monkeypatch: pytest.MonkeyPatch, difficulty: Any, level: int) -> None:
    metadata = {"difficulty": difficulty}
    items = [{"question": "q", "answer": answer, "metadata": metadata} for answer in (None, " ", "4")]
    monkeypatch.setattr(adapter, "_create", lambda family, size, seed: items)
    entries, bad = generate_family("fake", 3, 0)
    assert bad == [Rejection("reasoning_gym/fake", line, "no answer") for line in (1, 2)]
    assert [(entry.line, entry.problem.answer, entry.problem.level) for entry in entries] == [(3, "4", level)]
