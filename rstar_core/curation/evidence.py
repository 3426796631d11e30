"""What a round says of its problems: verified trajectories, and which leaves of its trees are right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rstar_core.curation.order import by_problem
from rstar_core.io import LEDGER, stream_table, stream_trajectories
from rstar_core.shards import stream_trees
from rstar_core.types import Problem, SearchTree, Step, Terminal, Trajectory


class Difficulty(StrEnum):
    """What a round's answers say of a problem (spec section 2)."""

    EASY = "easy"  # all are right
    MEDIUM = "medium"
    HARD = "hard"  # none is right


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a round says of one problem: verified trajectories, and trees with the verdicts on their leaves."""

    trajectories: Sequence[Trajectory]
    judged_trees: Sequence[tuple[SearchTree, dict[int, bool]]]


def stream_evidence(problems: Sequence[Problem], trees: Path, trajectories: Path) -> Iterator[tuple[Problem, Evidence]]:
    """The evidence on every problem, in the problems' order; empty where there is none."""
    grown = by_problem(problems, stream_trees(trees), lambda tree: tree.problem_id, "trees")
    kept = stream_trajectories(trajectories / "trajectories.parquet")
    verified = by_problem(problems, kept, lambda one: one.problem_id, "trajectories")
    ledger = stream_table(trajectories / "ledger.parquet", LEDGER)
    doubts = by_problem(problems, ledger, lambda row: str(row["problem_id"]), "doubts")
    for (problem, its_trees), (_, its_trajectories), (_, rows) in zip(grown, verified, doubts, strict=True):
        yield problem, weigh(its_trees, its_trajectories, {(row["tree_index"], row["leaf"]) for row in rows})


def weigh(
    trees: Sequence[SearchTree], trajectories: Sequence[Trajectory], doubted: Collection[tuple[int, int]]
) -> Evidence:
    """The evidence on one problem. ``doubted`` are (tree, leaf) whose verdict did not stand."""
    verified = {one.steps: one.is_correct for one in trajectories}
    doubtful = {
        tree.steps(leaf) for tree in trees for leaf in range(len(tree.nodes)) if (tree.tree_index, leaf) in doubted
    }
    return Evidence(trajectories, [(tree, leaf_verdicts(tree, verified, doubtful)) for tree in trees])


def leaf_verdicts(
    tree: SearchTree, verified: Mapping[tuple[Step, ...], bool], doubtful: Collection[tuple[Step, ...]]
) -> dict[int, bool]:
    """Which leaves are right and which are wrong; those of which that can't be said are left out.

    Verification has the last word, whichever tree it looked at. What it did not look at for want of places, and what
    has no answer at all, is wrong where the search says so, but never right.
    """
    found = {}
    for leaf, node in enumerate(tree.nodes):
        if node.reward is None:
            continue
        steps = tree.steps(leaf)
        if steps in verified:
            found[leaf] = verified[steps]
        elif node.reward < 0 and steps not in doubtful:
            found[leaf] = False
    return found


def difficulty(evidence: Evidence) -> Difficulty:
    """By the answers with a verdict; a problem without one is hard."""
    verdicts = {
        is_right
        for tree, verdicts in evidence.judged_trees
        for leaf, is_right in verdicts.items()
        if tree.nodes[leaf].terminal is Terminal.ANSWERED
    }
    if True not in verdicts:
        return Difficulty.HARD
    return Difficulty.MEDIUM if False in verdicts else Difficulty.EASY
