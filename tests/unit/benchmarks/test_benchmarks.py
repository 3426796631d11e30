"""The baseline that speed is held against grows trees like ours; and each benchmark says how it is used."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lock_step import lock_step
from rstar_core.engines.base import ZeroReward
from rstar_core.engines.scripted import ScriptedPolicy, arithmetic
from rstar_core.mcts.search import Budget, Parts, search
from rstar_core.mcts.tree import Tree
from rstar_core.types import Question
from tests.unit.mcts.scripts import ToySandbox, truth

ROOT = Path(__file__).parents[3]
PROGRAMS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser" in path.read_text())
QUESTIONS = [Question(f"q{number}", f"What is {number} + 3?") for number in range(4)]
BUDGET = Budget(num_candidates=3, num_rollouts=6, extra_rollouts=0, max_depth=4, uct_c=2.0, settled_after=None)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_says_how_it_is_used(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0 and shown.stdout.startswith("usage: "), shown.stderr


def test_all_that_can_be_run_are_looked_at() -> None:
    runnable = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert runnable - set(PROGRAMS) == {"bare_zygote"}, "which another benchmark starts"


def seen(tree: Tree) -> list[tuple[object, ...]]:
    return [(node.parent, node.step, node.visit_count, node.value_sum, node.terminal) for node in tree.nodes]


def test_lock_step_grows_the_very_trees_that_one_search_after_the_other_grows() -> None:
    parts = Parts(ScriptedPolicy(arithmetic, is_drawn=True), ZeroReward(), ToySandbox(), truth("6"))
    seeds = list(range(len(QUESTIONS)))
    together = asyncio.run(lock_step(QUESTIONS, seeds, parts, BUDGET))
    alone = [
        asyncio.run(search(question, parts, BUDGET, seed)) for question, seed in zip(QUESTIONS, seeds, strict=True)
    ]
    assert [tree.num_rollouts for tree in alone] == [BUDGET.num_rollouts] * len(QUESTIONS)
    assert list(map(seen, together)) == list(map(seen, alone))
