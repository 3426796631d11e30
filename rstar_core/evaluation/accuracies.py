"""Predictions -> the metrics of ``evaluate``: shares that are right, by way, source and level (paper 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import filterfalse
from typing import Any

from rstar_core.answers.equivalence import Verdict
from rstar_core.evaluation.answering import Own, best, by_problem, majority, majority_of_trees, system
from rstar_core.evaluation.methods import FLAT, GREEDY, SYSTEM
from rstar_core.metrics import bootstrap_interval, share_by_level
from rstar_core.types import Prediction

Row = dict[str, Any]


def accuracies(predictions: Sequence[Prediction]) -> Row:
    """The metrics that ``evaluate`` names, from its predictions; each problem's are in the order of their trees."""
    alone, flat, searched = (by_problem(predictions, method) for method in (GREEDY, FLAT, SYSTEM))
    num_trees = max((one.tree_index + 1 for own in searched for one in own), default=None)
    answered = {own[0].problem_id for own in searched}
    paired = [own for own in alone if own[0].problem_id in answered]
    verdicts = {**_alone(alone, paired), **_flat(flat), **_system(searched)}
    intervals = {
        name: bootstrap_interval([right for _, right in groups]) for name, groups in verdicts.items() if groups
    }
    if searched:
        pairs = zip(verdicts["system@N"], verdicts["policy_pass@1_paired"], strict=True)
        intervals["system_minus_policy"] = bootstrap_interval([int(one) - int(other) for (_, one), (_, other) in pairs])
    return {
        **shares(verdicts),
        "interval": intervals,
        "ppm_accuracy_benchmark": _ranked_right(searched),
        "curve": {str(number): _point(searched, number) for number in range(1, (num_trees or 0) + 1)},
        "num_problems": len(alone),
        "num_system_problems": len(searched),
        "num_trees": num_trees,
        "num_samples": max(map(len, flat), default=None),
        "num_undecided": sum(one.verdict == Verdict.UNDECIDED for one in predictions),
        "sources": {source: shares(its) for source, its in by_source(verdicts).items()},
    }


Verdicts = list[tuple[Prediction, bool]]  # one of its predictions, and whether it is right, by problem


def shares(verdicts: Mapping[str, Verdicts]) -> dict[str, dict[str, float] | None]:
    """By way of answering: of ``all`` problems and by level; None where it was asked none."""
    return {
        way: share_by_level((one.level, right) for one, right in its) if its else None for way, its in verdicts.items()
    }


def by_source(verdicts: Mapping[str, Verdicts]) -> dict[str, dict[str, Verdicts]]:
    """The same for each source of problems: each may be a benchmark of its own."""
    sources = sorted({one.source for its in verdicts.values() for one, _ in its})
    return {
        source: {way: [(one, right) for one, right in its if one.source == source] for way, its in verdicts.items()}
        for source in sources
    }


def _alone(alone: Sequence[Own], paired: Sequence[Own]) -> dict[str, Verdicts]:
    groups = {"policy_pass@1": alone, "policy_pass@1_paired": paired}
    return {name: [(own[0], is_correct(own[0])) for own in its] for name, its in groups.items()}


def _flat(flat: Sequence[Own]) -> dict[str, Verdicts]:
    return {
        "maj@K": [(own[0], _is_right(own, majority(own))) for own in flat],
        "flat_pass@K": [(own[0], any(map(is_correct, own))) for own in flat],
    }


def _system(groups: Sequence[Own]) -> dict[str, Verdicts]:
    ways: dict[str, Callable[[Own], bool]] = {
        "system@N": lambda own: _is_right(own, system(own)),
        "best@N": lambda own: (chosen := best(own)) is not None and is_correct(chosen),
        "majority@N": lambda own: _is_right(own, majority_of_trees(own)),
        "pass@N": lambda own: any(map(is_correct, own)),
    }
    return {name: [(own[0], way(own)) for own in groups] for name, way in ways.items()}


def _point(groups: Sequence[Own], num_trees: int) -> dict[str, float]:
    """The system's accuracies with the first ``num_trees`` trees."""
    few = [[one for one in own if one.tree_index < num_trees] for own in groups]
    return {way: sum(right for _, right in its) / len(its) for way, its in _system(few).items()}


def differences(predictions: Sequence[Prediction]) -> list[tuple[Prediction, Prediction]]:
    """Greedy's and System 2's answer to each problem of which one of the two is right and the other is not."""
    alone = {own[0].problem_id: own[0] for own in by_problem(predictions, GREEDY)}
    found = []
    for own in by_problem(predictions, SYSTEM):
        chosen, greedy = system(own), alone[own[0].problem_id]
        if _is_right(own, chosen) != is_correct(greedy):
            found.append((greedy, chosen or own[0]))
    return found


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


def _is_right(own: Own, chosen: Prediction | None) -> bool:
    """Whether any of the answers that are equal to the chosen one is right; no answer is not."""
    return chosen is not None and any(is_correct(one) for one in own if one.answer_class == chosen.answer_class)


def is_correct(prediction: Prediction) -> bool:
    return prediction.verdict == Verdict.EQUAL
