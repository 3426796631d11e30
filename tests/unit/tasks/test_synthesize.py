"""The stage on a scripted policy: who gets trees, what is measured, and what a kill costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from rstar_core.config import Engine, SandboxLimits, Search, Seed
from rstar_core.engines.base import PolicyEngine, RewardEngine, ZeroReward
from rstar_core.engines.scripted import ScriptedPolicy
from rstar_core.errors import UserError
from rstar_core.io import digest, write_problems
from rstar_core.machine.variables import CONCURRENT_TREES, SANDBOX_SERVERS
from rstar_core.mcts.synthesis import budget_of
from rstar_core.sandbox.load import open_sandbox
from rstar_core.shards import read_trees
from rstar_core.types import Problem, Question, SearchTree, Step
from tasks.synthesize import synthesize
from tests.unit.mcts.scripts import ToySandbox, answer, end
from tests.unit.rounds import ROUND as EMPTY_ROUND

ENGINE = Engine(kind="local", dtype="float32")
SEARCH = Search(
    uct_c=2.0,
    max_depth=4,
    max_step_tokens=8,
    temperature=1.0,
    top_p=1.0,
    num_parallel_leaves=1,
    settled_after=None,
    record_generations=False,
)
ROUND = EMPTY_ROUND.model_copy(update={"num_rollouts": 2, "num_trees": 2})
LIMITS = SandboxLimits(wall_seconds=5.0, cpu_seconds=3, memory_mib=512, max_output_chars=200)
# The policy says 1/2 to everything; the first and the last problem have that value for an answer.
PROBLEMS = [
    Problem(f"p{number}", f"question {number}", truth, level, "made", "MIT")
    for number, (truth, level) in enumerate((("0.5", 1), ("7", 1), ("8", 2), ("1/2", 2)))
]
PLACES = [("p0", 0), ("p1", 0), ("p1", 1), ("p2", 0), ("p2", 1), ("p3", 0)]  # of the trees that these get
NUM_CALLS = 2 * len(PLACES)  # of the policy: one for the code, one for the answer


def say(question: Question, prefix: Sequence[Step]) -> list[str]:
    return [answer("1/2")] if prefix else [end("print(0.5)")]


def say_all(question: Question, prefix: Sequence[Step]) -> list[str]:
    """To be drawn from: trees of different seeds differ."""
    return [answer(value) for value in "3456"] if prefix else [end(f"print({value})") for value in "12345678"]


class Models:
    """What ``load_policy`` returns, with a script for a model."""

    def __init__(self, policy: PolicyEngine) -> None:
        self.policy = policy
        self.guides: list[tuple[str, Path]] = []

    def sampler(self, search: Search) -> PolicyEngine:
        assert search is SEARCH
        return self.policy

    def guide(self, kind: str, ppm: Path) -> RewardEngine:
        self.guides.append((kind, ppm))
        return ZeroReward()

    async def __aenter__(self) -> Models:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


class Mortal:
    """A policy that is killed after ``lives`` calls."""

    def __init__(self, lives: int, policy: PolicyEngine | None = None) -> None:
        self.lives, self.policy = lives, policy or ScriptedPolicy(say)

    async def propose(self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int) -> Any:
        self.lives -= 1
        if self.lives < 0:
            raise KeyboardInterrupt
        return await self.policy.propose(question, prefix, num_candidates=num_candidates, seed=seed)


class ToyBox(ToySandbox):
    """In the place of ``open_sandbox``."""

    level = "toy"

    def __init__(self, limits: SandboxLimits) -> None:
        super().__init__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.synthesize.open_sandbox", ToyBox)
    monkeypatch.setattr("tasks.synthesize.GraderSandbox", lambda: ToyBox(LIMITS))
    write_problems("problems.parquet", PROBLEMS)
    for name in ("policy", "ppm"):
        Path(name).mkdir()
    return tmp_path


@pytest.fixture
def real_sandbox(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.synthesize.open_sandbox", open_sandbox)
    monkeypatch.setenv(SANDBOX_SERVERS.name, "1")


def run(
    monkeypatch: pytest.MonkeyPatch,
    trees: str,
    policy: PolicyEngine | None = None,
    models: Models | None = None,
    seed: int = 1,
    **round_: Any,
) -> dict[str, Any]:
    monkeypatch.setattr("tasks.synthesize.load_policy", lambda *_: models or Models(policy or ScriptedPolicy(say)))
    return synthesize(
        round_id="r1",
        problems=Path("problems.parquet"),
        policy=Path("policy"),
        ppm=Path("ppm"),
        trees=Path(trees),
        seed=Seed(seed),
        engine=ENGINE,
        search=SEARCH,
        sandbox=LIMITS,
        round=ROUND.model_copy(update=round_),
    )


def made(trees: str = "trees") -> list[SearchTree]:
    return read_trees(trees)


def places(trees: Sequence[SearchTree]) -> list[tuple[str, int]]:
    return [(tree.problem_id, tree.tree_index) for tree in trees]


# --- trees ----------------------------------------------------------------------------------------------------


def test_unsolved_problems_get_another_tree_and_only_they(monkeypatch: pytest.MonkeyPatch, real_sandbox: None) -> None:
    metrics = run(monkeypatch, "trees")
    trees = made()
    assert places(trees) == PLACES
    assert {tree.round_id for tree in trees} == {"r1"}
    timings = metrics.pop("timings")
    assert "seccomp" in timings.pop("sandbox")
    assert metrics == {
        "num_problems": 4,
        "num_trees": 6,
        "num_failed": 0,
        "num_too_long": 0,
        "num_rollouts": 12,
        "num_tokens": sum(tree.num_tokens for tree in trees),
        "num_solved": 2,
        "coverage": {"all": 0.5, "level_1": 0.5, "level_2": 0.5},
    }
    assert metrics["num_tokens"] > 0 and all(rate > 0 for rate in timings.values())
    assert trees[0].nodes[1].step is not None and trees[0].nodes[1].step.output == "0.5\n"


def test_more_trees_come_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "one", num_trees=1)
    run(monkeypatch, "four", num_trees=4)
    assert places(made("one")) == [(f"p{number}", 0) for number in range(4)]
    assert [index for problem, index in places(made("four")) if problem == "p1"] == [0, 1, 2, 3]
    assert [index for problem, index in places(made("four")) if problem == "p3"] == [0]


def test_a_second_tree_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "trees", ScriptedPolicy(say_all, is_drawn=True), num_candidates=2)
    trees = {place: tree.nodes for place, tree in zip(places(made()), made(), strict=True)}
    assert trees["p2", 0] != trees["p2", 1] and trees["p2", 0] != trees["p0", 0]


def test_the_seed_and_nothing_else_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = ScriptedPolicy(say_all, is_drawn=True)
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        run(monkeypatch, name, policy, seed=seed)
    assert digest("one") == digest("again") != digest("other")


def test_the_budget_is_the_rounds_and_the_searchs(monkeypatch: pytest.MonkeyPatch) -> None:
    round_ = ROUND.model_copy(update={"num_candidates": 3, "num_rollouts": 5, "extra_rollouts": 7})
    budget = budget_of(SEARCH.model_copy(update={"uct_c": 1.5, "settled_after": 2}), round_)
    assert (budget.num_candidates, budget.num_rollouts, budget.extra_rollouts) == (3, 5, 7)
    assert (budget.max_depth, budget.uct_c, budget.settled_after) == (4, 1.5, 2)
    run(monkeypatch, "trees", extra_rollouts=1, num_trees=1)
    assert [tree.num_rollouts for tree in made()] == [2, 3, 3, 2]


@pytest.mark.parametrize("kind", ["terminal", "ppm"])
def test_the_guide_is_the_rounds(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    models = Models(ScriptedPolicy(say))
    run(monkeypatch, "trees", models=models, guide=kind)
    assert models.guides == [(kind, Path("ppm"))]


def test_the_truth_judges_by_value_and_spares_what_it_can_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy sandbox does no mathematics, so the grader can't tell x from 1/2."""
    write_problems("problems.parquet", [*PROBLEMS, Problem("px", "question x", "x", 1, "made", "MIT")])
    metrics = run(monkeypatch, "trees")
    rewards = {tree.problem_id: tree.nodes[-1].reward for tree in made()}
    assert rewards == {"p0": 1.0, "p1": -1.0, "p2": -1.0, "p3": 1.0, "px": 0.0}
    assert metrics["num_solved"] == 2
    assert ("px", 1) in places(made()), "it is unsolved all the same"


# --- killed and started again ---------------------------------------------------------------------------------


def test_a_stage_killed_anywhere_ends_as_if_nothing_had_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = ScriptedPolicy(say_all, is_drawn=True)
    immortal = Mortal(999, policy)
    whole = run(monkeypatch, "whole", immortal)
    num_calls = 999 - immortal.lives
    for lives in range(num_calls):
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, f"trees{lives}", Mortal(lives, policy))
        assert not Path(f"trees{lives}").exists(), "nothing half-written"
        again = run(monkeypatch, f"trees{lives}", policy)
        assert digest(f"trees{lives}") == digest("whole")
        assert {**again, "timings": None} == {**whole, "timings": None}
        assert not list(Path("journal").iterdir()), "what is published needs no journal"


def test_killed_amid_real_programs_it_goes_on_too(monkeypatch: pytest.MonkeyPatch, real_sandbox: None) -> None:
    run(monkeypatch, "whole")
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "trees", Mortal(7))
    run(monkeypatch, "trees")
    assert digest("trees") == digest("whole")


def test_killed_again_and_again_it_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    num_lives = 1
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "trees", Mortal(5))
    while not Path("trees").exists():
        num_lives += 1
        with suppress(KeyboardInterrupt):
            run(monkeypatch, "trees", Mortal(5))
    assert num_lives <= len(PLACES), "each life grows a tree at least"
    run(monkeypatch, "whole")
    assert digest("trees") == digest("whole")


def test_finished_trees_are_not_grown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "trees", Mortal(NUM_CALLS - 1))
    run(monkeypatch, "trees", Mortal(4))  # with two trees under way, both may have been lost


@pytest.mark.parametrize("change", ["nothing", "problems", "policy", "ppm", "seed", "round"])
def test_what_was_grown_from_other_inputs_is_not_used(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "trees", Mortal(NUM_CALLS - 1))
    if change == "problems":
        write_problems("problems.parquet", [*PROBLEMS[:3], Problem("p3", "question 4", "1/2", 2, "made", "MIT")])
    if change in ("policy", "ppm"):
        Path(change, "weights").write_text("others")
    others = {"seed": {"seed": 2}, "round": {"num_rollouts": 1}}.get(change, {})
    if change == "nothing":
        run(monkeypatch, "trees", Mortal(NUM_CALLS - 1))
    else:
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, "trees", Mortal(NUM_CALLS - 1), **others)


# --- two at once ----------------------------------------------------------------------------------------------


def test_two_workers_publish_the_very_bytes_of_a_lone_one(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ScriptedPolicy(say_all, is_drawn=True)
    lone = run(monkeypatch, "lone", drawn)
    monkeypatch.setattr("rstar_core.mcts.scheduler._WAIT_SECONDS", 0.01)
    monkeypatch.setenv(CONCURRENT_TREES.name, "2")  # so that neither begins all trees
    asked: dict[int, set[str]] = {}

    class Patient:
        """Searches on when both workers have something to search."""

        async def propose(self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int) -> Any:
            asked.setdefault(threading.get_ident(), set()).add(question.id)
            async with asyncio.timeout(30):  # the other one may have failed
                while len(asked) < 2:
                    await asyncio.sleep(0.001)
            return await drawn.propose(question, prefix, num_candidates=num_candidates, seed=seed)

    with ThreadPoolExecutor(2) as workers:
        both = list(workers.map(lambda trees: run(monkeypatch, trees, Patient()), ("one", "two")))
    assert digest("one") == digest("two") == digest("lone")
    assert all({**metrics, "timings": None} == {**lone, "timings": None} for metrics in both)
    assert len(asked) == 2 and all(asked.values()), "both took part"
    assert not list(Path("journal").iterdir())


def test_no_problems_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    write_problems("problems.parquet", [])
    with pytest.raises(UserError, match=r"problems\.parquet: no training problems; add a source with split 'train'"):
        run(monkeypatch, "trees")
    assert not Path("trees").exists() and not Path("journal").exists()
