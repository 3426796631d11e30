"""Killed at random instants of every stage, a round ends with the very bytes that it would have had."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from rstar_core.io import read_problems
from rstar_core.shards import read_trees
from tests.chaos.conftest import Nursery, finish, made_in, workspace_at
from tests.chaos.nursery import STAGES

ROOT = Path(__file__).parents[2]
NUM_KILLS = int(os.environ.get("RSTAR_CHAOS_KILLS") or 6)  # make chaos: many more
NUM_REAL_KILLS = int(os.environ.get("RSTAR_CHAOS_REAL_KILLS") or 1)
pytestmark = pytest.mark.timeout(400)


def stage_now(workspace: Path) -> str | None:
    try:
        return (workspace / "now").read_text().split()[0]
    except (FileNotFoundError, IndexError):
        return None


def kill(nursery: Nursery, workspace: Path, stage: str, delay: float) -> tuple[str | None, int]:
    """Kill a life ``delay`` seconds after ``stage`` (or a later one) has begun; where it died, and how many orphans."""
    (workspace / "now").unlink(missing_ok=True)
    process = psutil.Process(nursery.start(workspace))
    wanted = STAGES[STAGES.index(stage) :]
    while process.status() != psutil.STATUS_ZOMBIE and stage_now(workspace) not in wanted:
        time.sleep(0.005)
    time.sleep(delay)
    died_in = stage_now(workspace)
    children = process.children(recursive=True)
    process.kill()
    code = nursery.code()
    assert code in (0, -9), (workspace / "log").read_text()[-3000:]
    _, alive = psutil.wait_procs(children, timeout=10)
    return (died_in if code else None), len(alive)


def durations(nursery: Nursery, workspace: Path) -> dict[str, float]:
    """Seconds of each stage of a run that nobody interrupts."""
    starts: dict[str, float] = {}
    process = psutil.Process(nursery.start(workspace))
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        starts.setdefault(stage_now(workspace) or STAGES[0], time.monotonic())
        time.sleep(0.005)
    assert nursery.code() == 0, (workspace / "log").read_text()[-3000:]
    ends = [*list(starts.values())[1:], time.monotonic()]
    return {name: end - start for (name, start), end in zip(starts.items(), ends, strict=True)}


def chaos(nursery: Nursery, folder: Path, engine: str, num_kills: int, num_per_workspace: int = 25) -> None:
    whole = workspace_at(folder / "whole", engine)
    seconds = durations(nursery, whole)
    expected = made_in(whole)
    dice, killed, orphans, rounds = random.Random(1), Counter[str](), 0, 0
    while killed.total() < num_kills:
        workspace, rounds = workspace_at(folder / f"killed{rounds}", engine), rounds + 1
        share = min(num_per_workspace, num_kills - killed.total())
        for stage in sorted((dice.choice(STAGES) for _ in range(share)), key=STAGES.index):
            died_in, left = kill(nursery, workspace, stage, dice.uniform(0, seconds.get(stage, 0.1)))
            killed.update([died_in] if died_in else [])
            orphans += left
        finish(nursery, workspace)
        assert made_in(workspace) == expected
        assert not list((workspace / "journal").glob("*")), "what is published needs no journal"
        check_trees(workspace)
        print(f"{killed.total()} kills so far", flush=True)
    by_stage = ", ".join(f"{stage} {killed[stage]}" for stage in STAGES)
    print(
        f"\n{engine}: {killed.total()} kills ({by_stage}) in "
        f"{rounds} rounds, {len(expected)} files identical, {orphans} orphans"
    )
    assert orphans == 0


def check_trees(workspace: Path) -> None:
    """Each problem has its first tree, and a second only where that did not solve it; none is there twice."""
    trees = read_trees(workspace / "artifacts/r1/trees")
    places = [(tree.problem_id, tree.tree_index) for tree in trees]
    problems = read_problems(workspace / "artifacts/problems/train.parquet")
    assert len(set(places)) == len(places)
    assert {problem for problem, index in places if index == 0} == {problem.id for problem in problems}


def test_a_round_killed_at_random_instants_ends_with_the_same_bytes(nursery: Nursery, tmp_path: Path) -> None:
    chaos(nursery, tmp_path, "scripted", NUM_KILLS)


def test_so_does_one_on_a_real_model(nursery: Nursery, tmp_path: Path) -> None:
    chaos(nursery, tmp_path, "local", NUM_REAL_KILLS)
