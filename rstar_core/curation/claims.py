"""What searches say of their own solutions, before anybody looks again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from rstar_core.answers.equivalence import Ruling, Verdict
from rstar_core.answers.extract import extract
from rstar_core.types import SearchTree, Step, StepKind, Terminal, Trajectory


class Kind(StrEnum):
    DISAGREEMENT = "disagreement"  # two looks, or two graders, say different things
    UNDECIDED = "undecided"
    TIMEOUT = "timeout"
    NO_ANSWER = "no answer"  # the last step gives none


WRONG = -1.0  # the reward


@dataclass(frozen=True, slots=True)
class Claim:
    """A solution with the search's verdict: ``reward`` is +1 right, -1 wrong, 0 where its grader could not tell."""

    trajectory: Trajectory
    reward: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim after the second look.

    ``verdict`` is None where nothing is to be believed. ``doubt`` says what speaks against the claim; it is empty
    where nothing does, and ``kind`` is None then. ``ruling`` is the grader's, where it was asked.
    """

    claim: Claim
    verdict: Verdict | None
    kind: Kind | None = None
    doubt: str = ""
    ruling: Ruling | None = None


def claims_of(trees: Iterable[SearchTree]) -> list[Claim]:
    """Every answer that one problem's searches judged, by tree and leaf; the first of each step sequence."""
    found: dict[tuple[Step, ...], Claim] = {}
    for tree in sorted(trees, key=lambda tree: tree.tree_index):
        for leaf, node in enumerate(tree.nodes):
            if node.terminal is Terminal.ANSWERED and node.reward is not None:
                claim = Claim(_trajectory(tree, leaf, node.answer or ""), node.reward)
                found.setdefault(claim.trajectory.steps, claim)
    return list(found.values())


def without_answer(trees: Iterable[SearchTree]) -> list[Finding]:
    """Every last step of one problem's searches that gives no answer, with the reason."""
    found: dict[tuple[Step, ...], Finding] = {}
    for tree in trees:
        for leaf, node in enumerate(tree.nodes):
            if node.step and node.step.kind is StepKind.ANSWER and node.answer is None:
                claim = Claim(_trajectory(tree, leaf, ""), WRONG)
                finding = Finding(claim, None, Kind.NO_ANSWER, str(extract(node.step.body).missing))
                found.setdefault(claim.trajectory.steps, finding)
    return list(found.values())


def _trajectory(tree: SearchTree, leaf: int, answer: str) -> Trajectory:
    """The path to ``leaf``, which nobody has verified yet."""
    step_q = tuple(tree.nodes[index].q_value for index in tree.path(leaf))
    return Trajectory(
        problem_id=tree.problem_id,
        round_id=tree.round_id,
        tree_index=tree.tree_index,
        leaf=leaf,
        steps=tree.steps(leaf),
        answer=answer,
        step_q=step_q,
        mean_q=fmean(step_q),
        is_correct=False,
    )


def select_claims(claims: Sequence[Claim], max_trajectories: int) -> list[Claim]:
    """The claims on one problem that get a second look, by tree and leaf.

    Right ones with the highest mean Q and wrong ones with the lowest, half of the places each; places that one side
    leaves empty go to the other. Undecided claims take no place: they are all listed and never kept.
    """
    right = sorted((claim for claim in claims if claim.reward > 0), key=lambda claim: -claim.trajectory.mean_q)
    wrong = sorted((claim for claim in claims if claim.reward < 0), key=lambda claim: claim.trajectory.mean_q)
    right = right[: max_trajectories - min(max_trajectories // 2, len(wrong))]
    wrong = wrong[: max_trajectories - len(right)]
    undecided = [claim for claim in claims if claim.reward == 0]
    return sorted([*right, *wrong, *undecided], key=lambda claim: (claim.trajectory.tree_index, claim.trajectory.leaf))
