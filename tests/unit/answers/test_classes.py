"""Votes count equal answers together, and few pairs are compared."""

from __future__ import annotations

import asyncio

from rstar_core.answers.classes import answer_classes
from rstar_core.answers.equivalence import Grader
from tests.unit.answers.test_equivalence import FixedSandbox


def test_equal_answers_are_one_class_and_none_has_none() -> None:
    answers = ["1/2", None, "3", "0.5", r"\frac12", "3.0", "$3$"]
    assert asyncio.run(answer_classes(answers, Grader(FixedSandbox("different\n")))) == [0, None, 2, 0, 0, 2, 2]


def test_an_undecided_answer_is_a_class_of_its_own() -> None:
    assert asyncio.run(answer_classes(["x", "y", "x"], Grader(FixedSandbox("undecided\n")))) == [0, 1, 0]


def test_answers_are_compared_by_class_and_not_in_pairs() -> None:
    sandbox = FixedSandbox("different\n")
    asyncio.run(answer_classes(["x+1", "y+1", "z+1"] * 50, Grader(sandbox)))
    assert len(sandbox.asked) == 3
