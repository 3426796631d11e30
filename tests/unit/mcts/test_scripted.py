"""The scripted engines: what they say depends on their arguments alone."""

from __future__ import annotations

import asyncio

import pytest

from rstar_core.engines.scripted import ScriptedPolicy, ScriptedReward, by_prefix
from rstar_core.types import Question, Step, StepKind

QUESTION, OTHER = Question("q", "What is 2?"), Question("other", "What is 2?")
A = Step(StepKind.CODE, "a", "printed")
SCRIPT = by_prefix({("q",): ["one", "two words"], ("q", "a"): ["three", "three", "four"], ("other",): ["five"]})


def texts(policy: ScriptedPolicy, question: Question, *prefix: Step, count: int, seed: int = 1) -> list[str]:
    return [c.text for c in asyncio.run(policy.propose(question, prefix, num_candidates=count, seed=seed))]


def test_continuations_come_in_order_and_over_again() -> None:
    assert texts(ScriptedPolicy(SCRIPT), QUESTION, count=3) == ["one", "two words", "one"]
    assert texts(ScriptedPolicy(SCRIPT), QUESTION, count=1) == ["one"]


def test_a_place_is_a_question_and_its_steps_whatever_they_printed() -> None:
    assert texts(ScriptedPolicy(SCRIPT), QUESTION, A, count=3) == ["three", "three", "four"]
    assert texts(ScriptedPolicy(SCRIPT), OTHER, count=1) == ["five"]


def test_an_unknown_place_is_named() -> None:
    with pytest.raises(KeyError, match="'other', 'a'"):
        texts(ScriptedPolicy(SCRIPT), OTHER, A, count=1)


def test_a_drawn_sample_is_fixed_by_its_seed_not_by_earlier_calls() -> None:
    policy = ScriptedPolicy(SCRIPT, is_drawn=True)
    first = texts(policy, QUESTION, A, count=50)
    assert texts(policy, QUESTION, A, count=50, seed=2) != first
    assert texts(policy, QUESTION, A, count=50) == first
    assert first.count("three") > first.count("four") > 0


def test_a_word_is_a_token() -> None:
    candidates = asyncio.run(ScriptedPolicy(SCRIPT).propose(QUESTION, (), num_candidates=2, seed=1))
    assert [candidate.num_tokens for candidate in candidates] == [1, 2]


def test_each_step_is_scored_in_its_place() -> None:
    guide = ScriptedReward(lambda question, prefix, step: len(prefix) + len(step.body) / 10)
    assert asyncio.run(guide.score(QUESTION, (A,), (A, Step(StepKind.CODE, "long")))) == [1.1, 1.4]
