"""No truth in a search at test time: its inputs have no place for it."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import get_type_hints

from rstar_core.engines.base import PolicyEngine, RewardEngine
from rstar_core.mcts.scheduler import Job
from rstar_core.mcts.search import Budget, Parts, guides_judge, search
from rstar_core.types import Problem, Question


def test_a_question_has_no_answer() -> None:
    assert {field.name for field in fields(Question)} == {"id", "text"}
    assert not hasattr(Problem("i", "t", "42", 1, "s", "l").question, "answer")


def test_nothing_that_a_search_is_given_can_hold_a_problem() -> None:
    told = [get_type_hints(one) for one in (search, Job, Parts, Budget, PolicyEngine.propose, RewardEngine.score)]
    assert not any(Problem in hints.values() for hints in told)
    assert all(hints.get("question", Question) is Question for hints in told)


def test_the_judge_of_test_time_sees_an_answer_and_its_score_alone() -> None:
    assert list(inspect.signature(guides_judge).parameters) == ["answer", "score"]
    assert inspect.getclosurevars(guides_judge).nonlocals == {}
