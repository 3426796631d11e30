"""Pure functions over graded samples, with their papers cited."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

Class = TypeVar("Class", bound=Hashable)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The chance that at least one of ``k`` samples is correct: 1 - C(n-c, k) / C(n, k).

    Unbiased (Chen et al. 2021, arXiv 2107.03374, section 2.1), in exact integers. NaN when ``k > num_samples``:
    nothing that was measured says what more samples would do.

    Raises:
        ValueError: ``k`` is not positive, or ``num_correct`` is not within 0 and ``num_samples``.
    """
    if k < 1 or not 0 <= num_correct <= num_samples:
        raise ValueError(f"pass@{k} of {num_correct} correct in {num_samples} samples has no meaning")
    if k > num_samples:
        return math.nan
    return 1 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)


def majority_vote(classes: Iterable[Class | None]) -> Class | None:
    """The class that most samples are in (self-consistency: Wang et al. 2022, arXiv 2203.11171).

    One entry per sample, equal for equivalent answers; None is a sample without an answer, which has no vote. The
    earliest of equals wins. None when no sample has an answer.
    """
    votes = Counter(one for one in classes if one is not None)
    return votes.most_common(1)[0][0] if votes else None


def weighted_vote(votes: Iterable[tuple[Class | None, float]]) -> Class | None:
    """The class with the most weight among (class, weight) of samples, weights not negative; else as ``majority_vote``.

    With a verifier's scores for weights: Li et al. 2022, arXiv 2206.02336.
    """
    weights: dict[Class, float] = {}
    for one, weight in votes:
        if one is not None:
            weights[one] = weights.get(one, 0.0) + weight
    return max(weights, key=lambda one: weights[one]) if weights else None


_VALUES_AT_ONCE = 1 << 20  # in memory; the draws are the same


def bootstrap_interval(values: Sequence[float], num_resamples: int = 1000, level: float = 0.95) -> list[float]:
    """The percentile bootstrap interval of the mean of ``values`` (Efron 1979); always by the same draws.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no interval of nothing")
    import numpy as np

    generator, known = np.random.default_rng(0), np.asarray(values, dtype=float)
    at_once = max(1, _VALUES_AT_ONCE // len(known))
    numbers = [min(at_once, num_resamples - start) for start in range(0, num_resamples, at_once)]
    means = np.concatenate([generator.choice(known, (number, len(known))).mean(axis=1) for number in numbers])
    return [float(edge) for edge in np.quantile(means, [(1 - level) / 2, (1 + level) / 2])]


def share_by_level(verdicts: Iterable[tuple[int, bool]]) -> dict[str, float]:
    """Shares of True among (level, verdict) pairs: ``all``, and ``level_<n>`` for each level there is.

    Raises:
        ValueError: there are no verdicts.
    """
    by_level: dict[str, list[bool]] = {"all": []}
    for level, verdict in verdicts:
        by_level["all"].append(verdict)
        by_level.setdefault(f"level_{level}", []).append(verdict)
    if not by_level["all"]:
        raise ValueError("no share of nothing")
    return {name: sum(values) / len(values) for name, values in sorted(by_level.items())}
