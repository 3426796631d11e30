"""Servers that die or hang while a search runs: it goes on, and every rollout counts once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rstar_core.engines.base import ZeroReward
from rstar_core.engines.served.machine import Machine, Role
from rstar_core.engines.served.servers import Server
from rstar_core.engines.served.vllm import VllmModels
from rstar_core.errors import UserError
from rstar_core.mcts.scheduler import Job, grow_trees
from rstar_core.mcts.search import Budget, Parts
from rstar_core.sandbox.base import Sandbox
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.types import SearchTree
from tests.unit.journals import journal_at
from tests.unit.mcts.scripts import truth
from tests.vllm.conftest import World

pytestmark = pytest.mark.vllm
BUDGET = Budget(num_candidates=3, num_rollouts=6, extra_rollouts=0, max_depth=8, uct_c=2.0, settled_after=None)
NUM_TREES = 40
Attack = Callable[[Server], None]


async def grown(world: World, models: VllmModels, path: Path, attack: Attack | None) -> list[SearchTree]:
    """Trees of ``NUM_TREES`` searches; ``attack`` meets the policy's server when a few of them are done."""
    policy = models.policy(1.0, 1.0, 48)
    async with models, ForkSandbox(world.params.sandbox) as box:
        journal = journal_at(path)
        searching = asyncio.create_task(grow_trees("test", jobs(world, policy, box), journal, NUM_TREES // 2))
        while attack and len(journal) < 4 and not searching.done():
            await asyncio.sleep(0.02)
        if attack and models._policy:
            assert not searching.done(), "the attack must come in time"
            attack(models._policy.servers[0])
        try:
            return await searching
        finally:
            journal.close()


def jobs(world: World, policy: object, box: Sandbox) -> list[Job]:
    return [
        Job(
            key=problem.id,
            question=problem.question,
            round_id="r1",
            tree_index=0,
            parts=Parts(policy, ZeroReward(), box, truth(problem.answer)),  # type: ignore[arg-type]
            budget=BUDGET,
            seed=number,
        )
        for number, problem in enumerate(world.problems[:NUM_TREES])
    ]


def check_whole(trees: list[SearchTree]) -> None:
    assert len({tree.problem_id for tree in trees}) == len(trees) == NUM_TREES
    for tree in trees:
        assert tree.num_rollouts == BUDGET.num_rollouts
        assert tree.nodes[0].visit_count == BUDGET.num_rollouts, "each rollout backed up once"
        leaves = sum(node.visit_count for node in tree.nodes if node.terminal is not None)
        assert leaves == BUDGET.num_rollouts


def kill_all(server: Server) -> None:
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)


def kill_front(server: Server) -> None:
    """Only the process that listens; what it started is orphaned."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)


def stop(server: Server) -> None:
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGSTOP)


@pytest.mark.parametrize("attack", [kill_all, kill_front, stop], ids=["kill -9", "kill -9 of the front", "hang"])
def test_a_search_survives_its_server(
    world: World,
    machine: Machine,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    attack: Attack,
) -> None:
    models = world.models(replace(machine, silence=5.0))
    check_whole(asyncio.run(grown(world, models, tmp_path / "journal", attack)))
    assert capfd.readouterr().err.count("restarting it (1 of 3)") == 1


def test_a_server_that_is_lost_for_good_is_one_line_and_finished_trees_are_kept(
    world: World, served: Machine, tmp_path: Path
) -> None:
    """Given by its address, it is not ours to restart."""
    own = world.models(replace(served, policy=Role()))
    own.policy(1.0, 1.0, 48)

    async def work() -> None:
        async with own:
            assert own._policy is not None
            server = own._policy.servers[0]
            given = world.models(replace(served, policy=Role((server.url,)), patience=3.0))
            await grown(world, given, tmp_path / "journal", lambda _: kill_all(server))

    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:\d+: no answer for 3 s \(.*\); what is finished is kept"):
        asyncio.run(work())
    assert len(journal_at(tmp_path / "journal")) >= 4
    check_whole(asyncio.run(grown(world, world.models(served), tmp_path / "journal", None)))
