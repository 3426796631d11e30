"""Engines that read from a script: a whole round runs without a model, and runs the same every time.

What they return depends on nothing but their arguments: neither on the order of the calls nor on earlier ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

from rstar_core.types import Candidate, Question, Step

Script = Callable[[Question, Sequence[Step]], Sequence[str]]  # -> the continuations of a prefix, at least one
Scores = Callable[[Question, Sequence[Step], Step], float]  # -> the score in [-1, 1] of a next step


def by_prefix(texts: Mapping[tuple[str, ...], Sequence[str]]) -> Script:
    """The script that finds its continuations under (question id, body of each step of the prefix).

    A place that is not in ``texts`` is an error of the script's author: a ``KeyError`` that names it.
    """

    def script(question: Question, prefix: Sequence[Step]) -> Sequence[str]:
        return texts[question.id, *(step.body for step in prefix)]

    return script


class ScriptedPolicy:
    """A policy whose candidates are the script's continuations; it implements ``PolicyEngine``.

    They come in the script's order and over again when more are asked for. ``is_drawn``: each is drawn instead,
    with the call's seed; a text that stands twice in the script comes twice as often. A word counts as a token.
    """

    def __init__(self, script: Script, *, is_drawn: bool = False) -> None:
        self._script = script
        self._is_drawn = is_drawn

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        texts = self._script(question, prefix)
        if self._is_drawn:
            chosen = random.Random(seed).choices(texts, k=num_candidates)
        else:
            chosen = list(islice(cycle(texts), num_candidates))
        return [Candidate(text, num_tokens=len(text.split())) for text in chosen]


class ScriptedReward:
    """A guide that scores each step by a function; it implements ``RewardEngine``."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    async def score(self, question: Question, prefix: Sequence[Step], steps: Sequence[Step]) -> list[float]:
        return [self._scores(question, prefix, step) for step in steps]
