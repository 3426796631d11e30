"""Pure functions over graded samples, with their papers cited."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable
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
