"""A search again from its record, without an engine: the same tree, or a sign that something else has changed."""

from __future__ import annotations

from collections.abc import Sequence

from rstar_core.types import Candidate, Generation, Question, SearchTree, Step

_Places = dict[tuple[Step, ...], Generation]


class RecordedPolicy:
    """Proposes what ``tree`` recorded; it implements ``PolicyEngine``. ``KeyError``: a place that it never saw."""

    def __init__(self, tree: SearchTree) -> None:
        self._places = _places(tree)

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        return list(self._places[tuple(prefix)].candidates)


class RecordedReward:
    """Scores as ``tree`` recorded; it implements ``RewardEngine``."""

    def __init__(self, tree: SearchTree) -> None:
        self._places = _places(tree)

    async def score(self, question: Question, prefix: Sequence[Step], steps: Sequence[Step]) -> list[float]:
        return list(self._places[tuple(prefix)].scores)


def _places(tree: SearchTree) -> _Places:
    return {tree.steps(generation.node): generation for generation in tree.generations}
