"""Several rollouts of one tree at once: they spread, they are counted once, and the tree depends on no clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from rstar_core.engines.scripted import ScriptedPolicy
from rstar_core.mcts.selection import uct_score
from rstar_core.mcts.tree import LiveNode, Tree
from rstar_core.types import Candidate, Question, Step
from tests.unit.mcts.scripts import answer, code, end, grow


def say(question: Question, prefix: Sequence[Step]) -> list[str]:
    if len(prefix) < 2:
        return [code(f"n = {len(prefix)}{value}") for value in range(4)]
    return [answer("5"), answer("6")] if prefix[-1].kind == "code_end" else [end("print(5)"), end("print(6)")]


class Jittery(ScriptedPolicy):
    """Answers after a number of turns that ``clock`` draws; ``most`` requests were under way at once."""

    def __init__(self, clock: int) -> None:
        super().__init__(say, is_drawn=True)
        self.clock = random.Random(clock)
        self.running = self.most = 0

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(self.clock.randrange(20)):
            await asyncio.sleep(0)
        self.running -= 1
        return await super().propose(question, prefix, num_candidates=num_candidates, seed=seed)


def grown(number: int, clock: int = 0, num_rollouts: int = 24) -> tuple[Tree, Jittery]:
    policy = Jittery(clock)
    settings = {"num_candidates": 6, "num_rollouts": num_rollouts, "num_parallel_leaves": number}
    return grow(say, policy=policy, **settings), policy


@pytest.mark.parametrize("number", [2, 3, 8])
def test_the_tree_does_not_depend_on_who_answers_first(number: int) -> None:
    trees = [grown(number, clock)[0].freeze("q", "r1", 0) for clock in range(4)]
    assert trees.count(trees[0]) == 4


@pytest.mark.parametrize("number", [1, 2, 5, 8])
def test_rollouts_are_counted_once_and_leave_no_marks(number: int) -> None:
    tree, _ = grown(number, num_rollouts=23)
    assert tree.num_rollouts == tree[0].visit_count == 23
    assert sum(node.visit_count for node in tree.nodes if node.terminal) == 23
    assert all(node.num_under_way == 0 for node in tree.nodes)


def test_they_ask_for_several_leaves_at_once() -> None:
    assert grown(1)[1].most == 1
    assert grown(4)[1].most > 1


def test_one_under_way_counts_as_a_visit_that_lost() -> None:
    idle, busy = LiveNode(0, None, visit_count=2, value_sum=1.0), LiveNode(0, None, visit_count=3, value_sum=0.0)
    marked = LiveNode(0, None, visit_count=2, value_sum=1.0, num_under_way=1)
    assert uct_score(marked, 5, 2.0) == uct_score(busy, 5, 2.0) < uct_score(idle, 5, 2.0)
