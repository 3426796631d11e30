"""Search trees -> preference pairs: which continuations the PPM learns to rank (paper 3.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from rstar_core.types import PreferencePair, SearchTree, Step, StepKind, Trajectory

FINAL = "final"


def node_pairs(
    tree: SearchTree, verdicts: Mapping[int, bool], num_positives: int, num_negatives: int, min_visits: int = 1
) -> list[PreferencePair]:
    """The pairs of every inner node: one prefix, its best steps to a right end against its worst to a wrong one.

    ``verdicts`` says whether a leaf is right, for each leaf of which that is known. Of the children with at least
    ``min_visits`` visits, positives are those with the highest Q that reach a right one; negatives those with the
    lowest Q that reach a wrong one and no other: an end that a rollout reached and that has no verdict may be right.
    Ties go to the lower index. A pair is made only where the positive's Q is the higher. Answer steps belong to
    ``final_pairs``.
    """
    unknown = {index for index, node in enumerate(tree.nodes) if node.reward is not None} - verdicts.keys()
    leads_right = _leading_to(tree, (leaf for leaf, is_right in verdicts.items() if is_right))
    leads_wrong = _leading_to(tree, (leaf for leaf, is_right in verdicts.items() if not is_right))
    leads_wrong -= leads_right | _leading_to(tree, unknown)
    pairs: list[PreferencePair] = []
    for index, children in _code_children(tree).items():
        visited = [child for child in children if tree.nodes[child].visit_count >= min_visits]
        positives = sorted(leads_right.intersection(visited), key=lambda child: (-tree.nodes[child].q_value, child))
        negatives = sorted(leads_wrong.intersection(visited), key=lambda child: (tree.nodes[child].q_value, child))
        pairs += _product(tree, index, positives[:num_positives], negatives[:num_negatives])
    return pairs


def _leading_to(tree: SearchTree, leaves: Iterable[int]) -> set[int]:
    """The nodes on the way to one of ``leaves``, the leaves included."""
    return {index for leaf in leaves for index in tree.path(leaf)}


def _code_children(tree: SearchTree) -> dict[int, list[int]]:
    """Children whose step is code, by parent; both in the order of their indices."""
    children: dict[int, list[int]] = {}
    for index, node in enumerate(tree.nodes):
        if node.step is not None and node.step.kind is not StepKind.ANSWER:
            children.setdefault(node.parent, []).append(index)
    return dict(sorted(children.items()))


def _product(tree: SearchTree, index: int, positives: Sequence[int], negatives: Sequence[int]) -> list[PreferencePair]:
    key, prefix = f"{tree.tree_index}/{index}", tree.steps(index)
    return [
        PreferencePair(tree.problem_id, key, prefix, _own_step(tree, positive), _own_step(tree, negative))
        for positive in positives
        for negative in negatives
        if tree.nodes[positive].q_value > tree.nodes[negative].q_value
    ]


def _own_step(tree: SearchTree, index: int) -> tuple[Step, ...]:
    return tree.steps(index)[-1:]


def final_pairs(trajectories: Sequence[Trajectory], num_positives: int, num_negatives: int) -> list[PreferencePair]:
    """The pairs of one problem's whole solutions: the final answer's relaxed rule, without a common prefix.

    The correct trajectories with the highest mean Q against the wrong ones with the lowest; equal step sequences
    count once, and ties go to the earlier tree and leaf.
    """
    positives = _distinct(sorted((t for t in trajectories if t.is_correct), key=lambda t: (-t.mean_q, *_place(t))))
    negatives = _distinct(sorted((t for t in trajectories if not t.is_correct), key=lambda t: (t.mean_q, *_place(t))))
    return [
        PreferencePair(positive.problem_id, FINAL, (), positive.steps, negative.steps)
        for positive in positives[:num_positives]
        for negative in negatives[:num_negatives]
    ]


def _place(trajectory: Trajectory) -> tuple[int, int]:
    return trajectory.tree_index, trajectory.leaf


def _distinct(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """The first trajectory of each step sequence."""
    found: dict[tuple[Step, ...], Trajectory] = {}
    for trajectory in trajectories:
        found.setdefault(trajectory.steps, trajectory)
    return list(found.values())


def split_by_problem(problem_ids: Iterable[str], validation_fraction: float, seed: int) -> set[str]:
    """The problems whose pairs are for validation: about that share, and neither side empty if there are two.

    A problem's side depends on the seed and its own id alone, so that it stays there as others come and go: pairs of
    earlier rounds must not cross. (Only where one side would be empty, the problem nearest to the border crosses.)
    """
    draws = {problem_id: _draw(seed, problem_id) for problem_id in problem_ids}
    held_out = {problem_id for problem_id, draw in draws.items() if draw < validation_fraction}
    if len(draws) >= 2 and not held_out:
        return {min(draws, key=draws.__getitem__)}
    if len(draws) >= 2 and len(held_out) == len(draws):
        return held_out - {max(draws, key=draws.__getitem__)}
    return held_out


def _draw(seed: int, problem_id: str) -> float:
    """Uniform in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{problem_id}".encode()).digest()[:6], "big") / 2**48


def is_final(pair: PreferencePair) -> bool:
    """Whether the pair ranks whole solutions: only they end in an answer."""
    return pair.chosen[-1].kind is StepKind.ANSWER
