"""The oracle's verdicts, on programs that are really run in a toy world of one number."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rstar_core.evaluation.oracle import Oracle, judge_pairs, judge_trajectories, step_accuracy
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.types import PreferencePair, Step, StepKind, Trajectory, TrueStates


class Adding:
    """Code is a number to add; the probe shows the sum; ``x`` fails."""

    level = "toy"

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        assert code == "show"
        if "x" in parents:
            return Outcome(Status.ERROR, "", "prefix: NameError: x", 0.0, 0.0)
        return Outcome(Status.OK, f"{sum(map(int, parents))}\n", "", 0.0, 0.0)


ORACLE = Oracle({"p": TrueStates("p", "show", ("1", "3", "6"))}, Adding())


def steps(*codes: str, is_whole: bool = False) -> tuple[Step, ...]:
    ends = (StepKind.CODE_END if is_whole and place == len(codes) - 1 else StepKind.CODE for place in range(len(codes)))
    made = tuple(Step(kind, code) for kind, code in zip(ends, codes, strict=True))
    return (*made, Step(StepKind.ANSWER, "it is")) if is_whole else made


@pytest.mark.parametrize(
    ("codes", "first"),
    [
        (("1", "2", "3"), None),
        (("1", "2", "4"), 2),
        (("2", "1", "3"), 0),  # two mistakes that cancel out: the answer is right, the way is not
        (("1", "x", "3"), 1),
        (("1", "5"), 1),  # the true end, a step too early
        (("1", "2", "0", "3"), 2),
    ],
)
def test_the_first_wrong_step(codes: tuple[str, ...], first: int | None) -> None:
    assert asyncio.run(ORACLE.first_wrong("p", steps(*codes, is_whole=True))) == first


def judged(*pairs: PreferencePair) -> dict[str, Any]:
    return asyncio.run(judge_pairs(ORACLE, pairs, 9))[0]


def test_preferences_that_are_not_as_they_should_be_are_named() -> None:
    good = PreferencePair("p", "0/1", steps("1"), steps("2"), steps("3"))
    both_wrong = PreferencePair("p", "0/1", steps("1"), steps("9"), steps("3"))
    upside_down = PreferencePair("p", "0/1", steps("1"), steps("8"), steps("2"))
    _, found = asyncio.run(judge_pairs(ORACLE, [good, both_wrong, upside_down], 9))
    assert {(one.kind, one.problem_id, one.step, one.text, one.fault) for one in found} == {
        ("pair", "p", 2, "9", "the chosen one is wrong"),
        ("pair", "p", 2, "8", "the chosen one is wrong and the rejected one is right"),
    }


def test_a_label_is_noise_unless_the_chosen_is_right_and_the_rejected_wrong() -> None:
    good = PreferencePair("p", "0/1", steps("1"), steps("2"), steps("3"))
    both_right = PreferencePair("p", "0/1", steps("1"), steps("2"), steps("2"))
    both_wrong = PreferencePair("p", "0/1", steps("2"), steps("2"), steps("3"))
    unknown = PreferencePair("q", "0/1", steps("1"), steps("2"), steps("3"))
    assert judged(good, both_right, both_wrong, unknown) == {
        "pair_label_noise": pytest.approx(2 / 3),
        "pair_chosen_right": pytest.approx(2 / 3),
        "pair_rejected_wrong": pytest.approx(2 / 3),
        "num_judged_pairs": 3,
    }
    whole = PreferencePair("p", "final", (), steps("1", "2", "3", is_whole=True), steps("1", "2", "9", is_whole=True))
    assert judged(whole)["pair_label_noise"] == 0
    assert judged(unknown)["pair_label_noise"] is None


def test_right_answers_by_a_wrong_step_are_counted() -> None:
    def trajectory(*codes: str, is_correct: bool = True) -> Trajectory:
        return Trajectory("p", "r1", 0, 1, steps(*codes, is_whole=True), "6", (), 0.0, is_correct)

    its = [trajectory("1", "2", "3"), trajectory("2", "1", "3"), trajectory("9", "9", "9", is_correct=False)]
    shares, (found,) = asyncio.run(judge_trajectories(ORACLE, its, 9))
    assert shares == {"right_with_wrong_step": 0.5}
    assert (found.kind, found.problem_id, found.step, found.text) == ("solution", "p", 1, "2")
    assert found.fault == "and yet the answer is 6"


def test_first_errors_are_found_by_a_threshold_from_the_other_half() -> None:
    right, wrong = (None, (0.9, 0.8, 0.7)), (1, (0.9, -0.2, 0.8))
    assert step_accuracy([right, right, wrong, wrong]) == 1
    blind = (1, (0.5, 0.5, 0.5))
    assert step_accuracy([right, right, blind, blind]) == 0
    assert step_accuracy([right, right]) is None
