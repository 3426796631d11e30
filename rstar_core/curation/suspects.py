"""Labels to look at: unsolved problems on whose answer most solutions agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from rstar_core.types import Problem

MIN_SOLUTIONS = 3  # fewer that agree say nothing of a label
Z = 1.96


@dataclass(frozen=True, slots=True)
class Suspect:
    """A problem that no solution solved, with what most solutions say; ``share`` of them agree.

    ``suspicion`` is the lower end of the share's 95 % interval (Wilson 1927): many that agree weigh more than few.
    """

    problem_id: str
    level: int
    label: str
    num_solutions: int
    majority_answer: str | None
    share: float
    suspicion: float
    is_stable: bool


def suspect(problem: Problem, answers: Sequence[str], classes: Sequence[int | None], winner: int | None) -> Suspect:
    """``winner`` is the class of most; stable is an absolute majority of three solutions or more."""
    votes, total = classes.count(winner) if winner is not None else 0, len(answers)
    share = votes / total if total else 0.0
    majority = answers[winner] if winner is not None else None
    is_stable = total >= MIN_SOLUTIONS and share > 0.5
    return Suspect(problem.id, problem.level, problem.answer, total, majority, share, wilson(votes, total), is_stable)


def wilson(votes: int, total: int) -> float:
    """Lower end of the 95 % interval of a share; 0 of nothing."""
    if not total:
        return 0.0
    share, z2 = votes / total, Z * Z
    spread = Z * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, (share + z2 / (2 * total) - spread) / (1 + z2 / total))


def ranked(suspects: Sequence[Suspect]) -> list[Suspect]:
    """The stable ones first, the most suspicious first."""
    return sorted(suspects, key=lambda one: (not one.is_stable, -one.suspicion))
