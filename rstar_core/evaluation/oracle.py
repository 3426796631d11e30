"""What a generator knows of the true state after every step: for judging labels and scores, never for training."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rstar_core.curation.pairs import is_final
from rstar_core.sandbox.base import Sandbox, Status
from rstar_core.types import PreferencePair, Step, StepKind, Trajectory, TrueStates

Labelled = tuple[int | None, Sequence[float]]  # the first wrong step of a solution, None if all are right; its scores


@dataclass(frozen=True, slots=True)
class Oracle:
    """Judges steps by running them in ``sandbox``: what the probe prints after a step must be the true state."""

    states: Mapping[str, TrueStates]
    sandbox: Sandbox

    def knows(self, problem_id: str) -> bool:
        return problem_id in self.states

    async def is_right(self, problem_id: str, steps: Sequence[Step]) -> bool:
        """Whether the last of ``steps`` leaves the true state, having taken as many steps as the true program."""
        truth = self.states[problem_id]
        number = len(steps)
        if number > len(truth.values) or (steps[-1].kind is StepKind.CODE_END) != (number == len(truth.values)):
            return False
        outcome = await self.sandbox.run([step.body for step in steps], truth.probe, problem_id)
        return outcome.status is Status.OK and outcome.stdout.strip() == truth.values[number - 1]

    async def first_wrong(self, problem_id: str, steps: Sequence[Step]) -> int | None:
        """The index of the first code step that is not right; None if all are."""
        code = [step for step in steps if step.kind is not StepKind.ANSWER]
        verdicts = await asyncio.gather(*(self.is_right(problem_id, code[: end + 1]) for end in range(len(code))))
        return next((place for place, is_right in enumerate(verdicts) if not is_right), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the training data that is not as its label says. ``step`` is its number, from 1; ``text`` is its."""

    kind: Literal["solution", "pair"]
    problem_id: str
    step: int
    text: str
    fault: str


Judged = tuple[dict[str, Any], list[Finding]]


async def judge_pairs(oracle: Oracle, pairs: Sequence[PreferencePair], most: int) -> Judged:
    """Of a sample of at most ``most`` pairs: ``pair_label_noise`` is the share whose preference is not truly right,
    which asks for a right chosen step and a wrong rejected one (of whole solutions: all steps, and any).
    """
    sample = _sample([pair for pair in pairs if oracle.knows(pair.problem_id)], most)
    chosen = await asyncio.gather(*(_is_right(oracle, pair, pair.chosen) for pair in sample))
    rejected = await asyncio.gather(*(_is_right(oracle, pair, pair.rejected) for pair in sample))
    good = [is_right and not is_wrong for is_right, is_wrong in zip(chosen, rejected, strict=True)]
    shares = {
        "pair_label_noise": 1 - _share(good) if good else None,
        "pair_chosen_right": _share(chosen) if chosen else None,
        "pair_rejected_wrong": 1 - _share(rejected) if rejected else None,
        "num_judged_pairs": len(sample),
    }
    found = [_noise(*those) for those in zip(sample, chosen, rejected, strict=True) if those[1:] != (True, False)]
    return shares, found


def _noise(pair: PreferencePair, is_chosen_right: bool, is_rejected_right: bool) -> Finding:
    faults = [] if is_chosen_right else ["the chosen one is wrong"]
    faults += ["the rejected one is right"] if is_rejected_right else []
    steps = pair.chosen if not is_chosen_right else pair.rejected
    return Finding("pair", pair.problem_id, len(pair.prefix) + 1, _text(steps), " and ".join(faults))


def _text(steps: Sequence[Step]) -> str:
    return "\n".join(step.body for step in steps)


async def _is_right(oracle: Oracle, pair: PreferencePair, steps: Sequence[Step]) -> bool:
    if is_final(pair):
        return await oracle.first_wrong(pair.problem_id, steps) is None
    return await oracle.is_right(pair.problem_id, (*pair.prefix, *steps))


async def judge_trajectories(oracle: Oracle, trajectories: Sequence[Trajectory], most: int) -> Judged:
    """``right_with_wrong_step``: of a sample of correct trajectories, the share with a wrong step inside."""
    correct = [one for one in trajectories if one.is_correct and oracle.knows(one.problem_id)]
    sample = _sample(correct, most)
    wrong = await asyncio.gather(*(oracle.first_wrong(one.problem_id, one.steps) for one in sample))
    found = [
        Finding("solution", one.problem_id, place + 1, one.steps[place].body, f"and yet the answer is {one.answer}")
        for one, place in zip(sample, wrong, strict=True)
        if place is not None
    ]
    return {"right_with_wrong_step": _share([place is not None for place in wrong]) if wrong else None}, found


def _sample(items: Sequence[Any], most: int) -> list[Any]:
    return random.Random(0).sample(list(items), min(most, len(items)))


def _share(verdicts: Sequence[bool]) -> float:
    return sum(verdicts) / len(verdicts)


# --- the PPM as a finder of first errors ----------------------------------------------------------------------


def step_accuracy(solutions: Sequence[Labelled]) -> float | None:
    """F1 of finding the first wrong step, as ProcessBench has it (arXiv 2412.06559, section 3).

    The harmonic mean of two shares: of wrong solutions, those whose first step with a score below a threshold is the
    first wrong one; of right solutions, those without any. The threshold is the best on the other half of the
    solutions. None where there are not both kinds in each half.
    """
    halves = solutions[::2], solutions[1::2]
    if not all({place is None for place, _ in half} == {True, False} for half in halves):
        return None
    found = [
        (place, _first_below(scores, _best_threshold(other)))
        for half, other in (halves, halves[::-1])
        for place, scores in half
    ]
    return _f1(found)


def _best_threshold(solutions: Sequence[Labelled]) -> float:
    return max(
        (step / 20 for step in range(-19, 20)),
        key=lambda threshold: _f1([(place, _first_below(scores, threshold)) for place, scores in solutions]),
    )


def _first_below(scores: Sequence[float], threshold: float) -> int | None:
    return next((place for place, score in enumerate(scores) if score < threshold), None)


def _f1(found: Sequence[tuple[int | None, int | None]]) -> float:
    """Of (true, said) first wrong steps."""
    wrong = [true == said for true, said in found if true is not None]
    right = [said is None for true, said in found if true is None]
    shares = _share(wrong), _share(right)
    return 2 * shares[0] * shares[1] / sum(shares) if all(shares) else 0.0
