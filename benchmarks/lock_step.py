"""A search driver that gates the whole batch, written for comparison: as the reference release drives its searches.

Every rollout of every tree goes down together. At each step all trees wait for all completions, then for all runs of
code, then for all scores; trees that have come to a terminal wait for the deepest.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from rstar_core.answers.extract import extract_answer
from rstar_core.cot.grammar import is_program_complete, parse_step
from rstar_core.mcts.backup import FAILED, back_up
from rstar_core.mcts.search import Budget, Parts
from rstar_core.mcts.selection import select_child
from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.sandbox.base import Status
from rstar_core.seeds import derived_seed
from rstar_core.types import Question, Step, StepKind, Terminal


class One:
    """One problem's tree, in phases."""

    def __init__(self, question: Question, seed: int, parts: Parts, budget: Budget) -> None:
        self.question, self.seed, self.parts, self.budget = question, seed, parts, budget
        self.rng, self.tree, self.place = random.Random(seed), Tree(), ROOT

    @property
    def is_new(self) -> bool:
        node = self.tree[self.place]
        return node.terminal is None and not node.children

    async def propose(self) -> None:
        self.prefix = self.tree.prefix(self.place)
        found = await self.parts.policy.propose(
            self.question,
            self.prefix,
            num_candidates=self.budget.num_candidates,
            seed=derived_seed(self.seed, self.place),
        )
        steps = [parse_step(candidate.text, self.prefix) for candidate in found]
        self.counts = Counter(step for step in steps if step is not None)

    async def execute(self) -> None:
        self.kept = [(step, step) for step in self.counts]
        if not is_program_complete(self.prefix):
            parents = [step.body for step in self.prefix]
            outcomes = await asyncio.gather(
                *(self.parts.sandbox.run(parents, step.body, self.question.id) for step in self.counts)
            )
            self.kept = [
                (step, Step(step.kind, step.body, outcome.stdout))
                for step, outcome in zip(self.counts, outcomes, strict=True)
                if outcome.status is Status.OK
            ]

    async def score(self) -> None:
        if not self.kept:
            self.tree[self.place].terminal = Terminal.NO_VALID_CANDIDATE
            return
        scores = await self.parts.guide.score(self.question, self.prefix, [step for _, step in self.kept])
        for (said, step), score in zip(self.kept, scores, strict=True):
            child = self.tree[self.tree.add(self.place, step, score, self.counts[said])]
            if step.kind is StepKind.ANSWER:
                child.answer = extract_answer(step.body)
                child.terminal = Terminal.ANSWERED if child.answer else Terminal.UNPARSABLE

    async def back_up(self) -> None:
        node = self.tree[self.place]
        if node.reward is None:
            node.reward = await self.parts.judge(node.answer, node.initial_value) if node.answer else FAILED
        back_up(self.tree, self.place, node.reward)
        self.place = ROOT


async def lock_step(questions: Sequence[Question], seeds: Sequence[int], parts: Parts, budget: Budget) -> list[Tree]:
    """Trees of ``budget.num_rollouts`` rollouts each."""
    batch = [One(question, seed, parts, budget) for question, seed in zip(questions, seeds, strict=True)]
    for _ in range(budget.num_rollouts):
        for depth in range(budget.max_depth + 1):
            new = [one for one in batch if one.is_new]
            if depth == budget.max_depth:
                for one in new:
                    one.tree[one.place].terminal = Terminal.MAX_DEPTH
                break
            await asyncio.gather(*(one.propose() for one in new))
            await asyncio.gather(*(one.execute() for one in new))
            await asyncio.gather(*(one.score() for one in new))
            for one in batch:
                if one.tree[one.place].terminal is None:
                    one.place = select_child(one.tree, one.place, budget.uct_c, one.rng)
        await asyncio.gather(*(one.back_up() for one in batch))
    return [one.tree for one in batch]
