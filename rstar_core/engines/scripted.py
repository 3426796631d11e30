"""Engines that read from a script: a whole round runs without a model, and runs the same every time.

What they return depends on nothing but their arguments: neither on the order of the calls nor on earlier ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from rstar_core.config import Search
from rstar_core.cot.grammar import answer_step, render_segments
from rstar_core.engines.base import PolicyEngine, RewardEngine, ZeroReward
from rstar_core.types import Candidate, Question, Step, StepKind

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


def arithmetic(question: Question, prefix: Sequence[Step]) -> list[str]:
    """Guesses of somebody who can calculate and not read: an operation on two numbers of the question.

    It is right now and then where one operation is all there is, so that a round finds pairs; it knows no answer.
    """
    if prefix:
        lines = prefix[-1].output.split() or ["0"]
        return [written(answer_step(value)) for value in (lines[-1], lines[-1], "1")]
    numbers = re.findall(r"\d+", question.text) or ["1"]
    first, last = numbers[0], numbers[-1]
    bodies = [f"n = {first} {sign} {last}\nprint(n)" for sign in ("+", "-", "*", "//")]
    return [written(Step(StepKind.CODE_END, body)) for body in bodies]


def written(step: Step) -> str:
    """The part of a step that a policy writes."""
    return "".join(text for text, is_the_policys in render_segments(step) if is_the_policys)


def taste(question: Question, prefix: Sequence[Step], step: Step) -> float:
    """A score that has nothing to do with the truth."""
    return len(step.body) % 7 / 10


class ScriptedModels:
    """``engine.kind: scripted``: in the place of any round's models, for trying everything around them in seconds."""

    def policy(self, temperature: float, top_p: float, max_step_tokens: int) -> PolicyEngine:
        return ScriptedPolicy(arithmetic, is_drawn=temperature > 0)

    def sampler(self, search: Search) -> PolicyEngine:
        return ScriptedPolicy(arithmetic, is_drawn=True)

    def guide(self, kind: Literal["terminal", "ppm"], ppm: Path) -> RewardEngine:
        return ZeroReward() if kind == "terminal" else ScriptedReward(taste)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
