"""Predictions -> the metrics of ``evaluate``: shares that are right, by way of answering and by level (paper 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import filterfalse
from typing import Any

from rstar_core.answers.equivalence import Verdict
from rstar_core.metrics import bootstrap_interval, majority_vote, share_by_level, weighted_vote
from rstar_core.types import Prediction

GREEDY, FLAT, SYSTEM = "greedy", "flat", "system"

Own = list[Prediction]  # one method's, to one problem
Row = dict[str, Any]


def accuracies(predictions: Sequence[Prediction]) -> Row:
    """The metrics that ``evaluate`` names, from its predictions; each problem's are in the order of their trees."""
    alone, flat, system = (_by_problem(predictions, method) for method in (GREEDY, FLAT, SYSTEM))
    num_trees = max((one.tree_index + 1 for own in system for one in own), default=None)
    answered = {own[0].problem_id for own in system}
    paired = [own for own in alone if own[0].problem_id in answered]
    verdicts = {**_alone(alone, paired), **_flat(flat), **_system(system)}
    shares = {name: share_by_level(groups) if groups else None for name, groups in verdicts.items()}
    intervals = {
        name: bootstrap_interval([right for _, right in groups]) for name, groups in verdicts.items() if groups
    }
    if system:
        pairs = zip(verdicts["system@N"], verdicts["policy_pass@1_paired"], strict=True)
        intervals["system_minus_policy"] = bootstrap_interval([int(one) - int(other) for (_, one), (_, other) in pairs])
    return {
        **shares,
        "interval": intervals,
        "ppm_accuracy_benchmark": _ranked_right(system),
        "curve": {str(number): _point(system, number) for number in range(1, (num_trees or 0) + 1)},
        "num_problems": len(alone),
        "num_system_problems": len(system),
        "num_trees": num_trees,
        "num_samples": max(map(len, flat), default=None),
        "num_undecided": sum(one.verdict == Verdict.UNDECIDED for one in predictions),
    }


Verdicts = list[tuple[int, bool]]  # level and whether it is right, by problem


def _alone(alone: Sequence[Own], paired: Sequence[Own]) -> dict[str, Verdicts]:
    groups = {"policy_pass@1": alone, "policy_pass@1_paired": paired}
    return {name: [(own[0].level, is_correct(own[0])) for own in its] for name, its in groups.items()}


def _flat(flat: Sequence[Own]) -> dict[str, Verdicts]:
    return {
        "flat@K": [(own[0].level, _is_right(own, majority_vote(one.answer_class for one in own))) for own in flat],
        "flat_pass@K": [(own[0].level, any(map(is_correct, own))) for own in flat],
    }


def _system(groups: Sequence[Own]) -> dict[str, Verdicts]:
    ways: dict[str, Callable[[Own], bool]] = {
        "system@N": lambda own: _is_right(own, weighted_vote((one.answer_class, _weight(one)) for one in own)),
        "best@N": lambda own: is_correct(max(own, key=lambda one: one.score)),
        "majority@N": lambda own: _is_right(own, majority_vote(one.answer_class for one in _best_of_trees(own))),
        "pass@N": lambda own: any(map(is_correct, own)),
    }
    return {name: [(own[0].level, way(own)) for own in groups] for name, way in ways.items()}


def _point(groups: Sequence[Own], num_trees: int) -> dict[str, float]:
    """The system's accuracies with the first ``num_trees`` trees."""
    few = [[one for one in own if one.tree_index < num_trees] for own in groups]
    return {name: share_by_level(verdicts)["all"] for name, verdicts in _system(few).items()}


def _ranked_right(groups: Sequence[Own]) -> float | None:
    """How often the PPM ranks a right terminal of a problem above a wrong one, ties being half: the mean over problems.

    A terminal without an answer or with an undecided one is neither. None where no problem has both.
    """
    shares = []
    for own in groups:
        answered = [one for one in own if one.answer is not None and one.verdict != Verdict.UNDECIDED]
        ranked = [
            (right.score > wrong.score) + 0.5 * (right.score == wrong.score)
            for right in filter(is_correct, answered)
            for wrong in filterfalse(is_correct, answered)
        ]
        if ranked:
            shares.append(sum(ranked) / len(ranked))
    return sum(shares) / len(shares) if shares else None


def _weight(prediction: Prediction) -> float:
    return prediction.frequency * (1 + prediction.score) / 2


def _best_of_trees(own: Own) -> list[Prediction]:
    """The terminal of each tree that the PPM scores best; the first of equals."""
    best: dict[int, Prediction] = {}
    for one in own:
        if one.tree_index not in best or one.score > best[one.tree_index].score:
            best[one.tree_index] = one
    return list(best.values())


def _is_right(own: Own, answer_class: int | None) -> bool:
    """Whether the answers of ``answer_class`` are; no answer is not."""
    return any(one.answer_class == answer_class and is_correct(one) for one in own if one.answer is not None)


def _by_problem(predictions: Sequence[Prediction], method: str) -> list[list[Prediction]]:
    groups: dict[str, list[Prediction]] = {}
    for one in predictions:
        if one.method == method:
            groups.setdefault(one.problem_id, []).append(one)
    return list(groups.values())


def is_correct(prediction: Prediction) -> bool:
    return prediction.verdict == Verdict.EQUAL
