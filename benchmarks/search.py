"""What a search costs beyond the tokens that it needs.

``python -m benchmarks.search local|vllm|simulated|memory|drivers|node``; the last line is one JSON object.

- local, vllm: policy and PPM of ``--round`` (of a finished ``make evolve``) search ``--problems`` training problems.
  Efficiency is the lower bound over the wall time; the bound is the larger of the same requests as one flat batch on
  a fresh engine, and the longest tree's requests, one after another.
- simulated: the same against ``benchmarks.simulated_server``, whose bound is known exactly: seconds of service over
  slots, or the longest chain. Step execution costs nothing there.
- memory: the largest resident size with 1,000 and with 100,000 problems.
- drivers: two workloads (steps of 12 to 40 tokens, 4 to 7 of them), with steps that cost nothing and steps that are
  really executed: ours with 1 and with ``--leaves`` rollouts of a tree together, and a driver that gates the whole
  batch at each step, as the reference release does. ``flat ÷ wall`` is the bound that all of them share: the server's
  seconds over its slots. (The longest chain is none where rollouts of one tree go down together.)
- node: one driver with 1, 2, 4 and 8 engines of 256 slots and 12.5 ms a token (a 7B model on a GPU of today), 256 trees
  an engine, as a node of a cluster has it: how much of the engines' time is used, and of a processor by the driver. A
  cluster is so many nodes; what its head does for a tree is in ``benchmarks.journal``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.lock_step import lock_step
from benchmarks.simulated_server import MODEL
from rstar_core.config import Engine, Params, load_params
from rstar_core.engines.base import Models, PolicyEngine, RewardEngine, Sampling, ZeroReward
from rstar_core.engines.load import load_policy
from rstar_core.engines.served.servers import Replicas, Server
from rstar_core.engines.served.vllm import TextPrompts, VllmPolicy
from rstar_core.io import read_problems
from rstar_core.journal.folder import FolderJournal
from rstar_core.journal.key import JournalKey
from rstar_core.machine.ports import free_port
from rstar_core.mcts.scheduler import Job, grow, grow_trees
from rstar_core.mcts.search import Budget, Parts, guides_judge
from rstar_core.mcts.tree import Tree
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import Candidate, Question, SearchTree, Step

JOURNAL = JournalKey("benchmark", "r1", {}, {}, "")
Row = dict[str, Any]
Call = tuple[str, tuple[Any, ...], dict[str, Any]]  # method, its arguments


class FreeSandbox:
    """Execution that costs nothing and prints nothing."""

    level = "none"

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        return Outcome(Status.OK, "", "", 0.0, 0.0)


class Recorder:
    """Both engines at once; remembers each question's calls in order."""

    def __init__(self, policy: PolicyEngine, guide: RewardEngine) -> None:
        self._policy, self._guide = policy, guide
        self.calls: dict[str, list[Call]] = defaultdict(list)

    async def propose(self, question: Question, *args: Any, **more: Any) -> list[Candidate]:
        self.calls[question.id].append(("propose", (question, *args), more))
        return await self._policy.propose(question, *args, **more)

    async def score(self, question: Question, *args: Any) -> list[float]:
        self.calls[question.id].append(("score", (question, *args), {}))
        return await self._guide.score(question, *args)


async def repeat(engines: Recorder, call: Call) -> None:
    method, args, more = call
    await getattr(engines, method)(*args, **more)


def budget(num_candidates: int, num_rollouts: int, num_parallel_leaves: int = 1) -> Budget:
    return Budget(num_candidates, num_rollouts, 0, 16, 2.0, None, num_parallel_leaves)


def jobs(questions: Sequence[Question], parts: Parts, its_budget: Budget) -> list[Job]:
    return [Job(one.id, one, "b", 0, parts, its_budget, derived_seed(1, one.id)) for one in questions]


async def search_all(questions: Sequence[Question], parts: Parts, its_budget: Budget, most: int) -> list[SearchTree]:
    with tempfile.TemporaryDirectory() as folder:
        journal = FolderJournal(Path(folder) / "journal", JOURNAL)
        return await grow_trees("search", jobs(questions, parts, its_budget), journal, most)


# --- local, vllm ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    params: Params
    engine: Engine
    folder: Path
    questions: list[Question]
    budget: Budget
    most: int  # trees at once

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Recorder]:
        """Engines with nothing in their caches, but warm: the first request compiles."""
        models: Models = load_policy(self.folder / "policy", self.engine)
        policy, guide = models.sampler(self.params.search), models.guide("ppm", self.folder / "ppm")
        async with models:
            warm, step = Question("warm", "Warm up."), Step("code", "n = 1")  # type: ignore[arg-type]
            await policy.propose(warm, (), num_candidates=2, seed=1)
            await guide.score(warm, (), [step])
            yield Recorder(policy, guide)


async def efficiency(setting: Setting) -> dict[str, Any]:
    async with setting.fresh() as engines, ForkSandbox(setting.params.sandbox) as box:
        parts = Parts(engines, engines, box, guides_judge)
        cpu, started = time.process_time(), time.monotonic()
        trees = await search_all(setting.questions, parts, setting.budget, setting.most)
        wall, cpu = time.monotonic() - started, time.process_time() - cpu
    calls = dict(engines.calls)
    async with setting.fresh() as engines:
        started = time.monotonic()
        await asyncio.gather(*(repeat(engines, call) for its in calls.values() for call in its))
        flat = time.monotonic() - started
    longest = max((tree for tree in trees), key=lambda tree: (len(calls[tree.problem_id]), tree.num_tokens))
    async with setting.fresh() as engines:
        started = time.monotonic()
        for call in calls[longest.problem_id]:
            await repeat(engines, call)
        chain = time.monotonic() - started
    rollouts = sum(tree.num_rollouts for tree in trees)
    return {
        "efficiency": round(max(flat, chain) / wall, 3),
        "wall_s": round(wall, 2),
        "flat_s": round(flat, 2),
        "chain_s": round(chain, 2),
        "cpu_s": round(cpu, 2),
        "num_requests": sum(map(len, calls.values())),
        "tokens/s": round(sum(tree.num_tokens for tree in trees) / wall),
        "overhead_us_per_rollout": round(1e6 * max(0.0, wall - max(flat, chain)) / rollouts),
    }


def on_models(kind: str, given: argparse.Namespace) -> dict[str, Any]:
    params = load_params()
    changes = {"kind": kind, "dtype": "float64" if kind == "local" else "float32"}
    problems = read_problems("artifacts/problems/train.parquet")
    questions = [problem.question for problem in problems[:: max(1, len(problems) // given.problems)]]
    its_budget = budget(given.candidates, given.rollouts, given.leaves)
    folder = Path("artifacts") / given.round
    setting = Setting(params, params.engine.model_copy(update=changes), folder, questions, its_budget, given.most)
    return {"num_problems": len(questions), **asyncio.run(efficiency(setting))}


# --- simulated ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def simulated(slots: int, token_ms: float, *steps: str) -> AsyncIterator[tuple[PolicyEngine, str]]:
    port = free_port()
    words = ("--slots", slots, "--token-ms", token_ms, "--port", port, *steps)
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.simulated_server", *map(str, words)])
    url = f"http://127.0.0.1:{port}"
    replicas = Replicas([Server("simulated", MODEL, 600, url=url)], 30)
    try:
        await replicas.start()
        yield VllmPolicy(replicas, MODEL, TextPrompts("zero_shot"), Sampling(1.0, 1.0, 512)), url
    finally:
        await replicas.stop()
        child.terminate()
        child.wait()


async def totals(url: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/totals") as reply:
        found: dict[str, float] = await reply.json()
        return found


def made_up(number: int) -> list[Question]:
    return [Question(str(index), f"Problem {index}: how many are left?") for index in range(number)]


async def simulated_point(
    slots: int, token_ms: float, num_problems: int, its_budget: Budget, most: int
) -> dict[str, Any]:
    async with simulated(slots, token_ms) as (policy, url):
        parts = Parts(policy, ZeroReward(), FreeSandbox(), guides_judge)
        cpu, started = time.process_time(), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            journal = FolderJournal(Path(folder) / "j", JOURNAL)
            its_jobs = jobs(made_up(num_problems), parts, its_budget)
            await grow("simulated", its_jobs, len(its_jobs), journal, most)
        wall, cpu = time.monotonic() - started, time.process_time() - cpu
        found = await totals(url)
    flat, rollouts = found["busy_s"] / slots, num_problems * its_budget.num_rollouts
    bound = max(flat, found["chain_s"])
    return {
        "slots": slots,
        "token_ms": token_ms,
        "problems x rollouts x candidates": f"{num_problems} x {its_budget.num_rollouts} x {its_budget.num_candidates}",
        "efficiency": round(bound / wall, 3),
        "wall_s": round(wall, 2),
        "flat_s": round(flat, 2),
        "chain_s": round(found["chain_s"], 2),
        "client_cpu_us_per_rollout": round(1e6 * cpu / rollouts),
        "overhead_us_per_rollout": round(1e6 * (wall - bound) / rollouts),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


# slots, ms per token, problems, rollouts, candidates. The two marked points are those at which the reference
# release's driver was measured.
POINTS = (
    (1, 0.25, 100, 2, 2),
    (64, 5.0, 100, 4, 4),
    (64, 5.0, 1000, 2, 4),
    (256, 5.0, 64, 8, 5),  # marked
    (1024, 20.0, 256, 4, 8),  # marked
    (1024, 20.0, 2000, 2, 8),
)
LONG_POINTS = ((1024, 20.0, 10000, 2, 8), (1024, 2.0, 100000, 1, 2))


def on_simulated_server(given: argparse.Namespace) -> dict[str, Any]:
    points = []
    for slots, token_ms, problems, rollouts, candidates in POINTS + (LONG_POINTS if given.long else ()):
        its_budget = budget(candidates, rollouts, given.leaves)
        points.append(asyncio.run(simulated_point(slots, token_ms, problems, its_budget, given.most)))
        print(points[-1], flush=True)
    return {"points": points}


# --- memory ---------------------------------------------------------------------------------------------------


class Chatter:
    """A policy in this process that answers at once: two steps, then an answer."""

    async def propose(
        self, question: Question, prefix: Sequence[Step], *, num_candidates: int, seed: int
    ) -> list[Candidate]:
        await asyncio.sleep(0)
        endings = ("<end_of_step>", "<end_of_code>")
        texts = [
            f"<answer>\\boxed{{{number}}}<end_of_answer>"
            if len(prefix) == 2
            else f"n = {number}\n{endings[len(prefix)]}"
            for number in range(num_candidates)
        ]
        return [Candidate(text, 8, tuple(range(8)), (-0.5,) * 8) for text in texts]


def child_rss(num_problems: int, most: int) -> tuple[int, float]:
    """MiB at most, and seconds, of a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.search",
        "memory",
        "--problems",
        str(num_problems),
        "--most",
        str(most),
    ]
    done = subprocess.run([*command, "--child"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["max_rss_mib"], found["wall_s"]


def memory(given: argparse.Namespace) -> dict[str, Any]:
    if not given.child:
        sizes = (1000, given.problems if given.problems > 1000 else 100_000)
        (few, _), (many, seconds) = (child_rss(size, given.most) for size in sizes)
        cost = round(1e6 * seconds / sizes[1] / 2)
        return {"problems": sizes, "max_rss_mib": [few, many], "ratio": round(many / few, 2), "us_per_rollout": cost}
    parts = Parts(Chatter(), ZeroReward(), FreeSandbox(), guides_judge)

    def its_jobs() -> Iterator[Job]:
        for index in range(given.problems):
            question = Question(str(index), f"Problem {index}: how many are left?")
            yield Job(question.id, question, "b", 0, parts, budget(2, 2), index)

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        journal = FolderJournal(Path(folder) / "journal", JOURNAL)
        asyncio.run(grow("memory", its_jobs(), given.problems, journal, given.most))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"max_rss_mib": peak, "wall_s": round(time.monotonic() - started, 2)}


# --- drivers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    slots: int
    token_ms: float
    num_problems: int
    num_rollouts: int
    num_candidates: int

    def __str__(self) -> str:
        return f"{self.num_problems} x {self.num_rollouts} x {self.num_candidates} on {self.slots}"


WORKLOADS = (Workload(256, 5.0, 64, 8, 5), Workload(1024, 20.0, 256, 4, 8))
STEPS = ("--levels", "4", "7", "--step-tokens", "12", "40")


async def driven(load: Workload, leaves: int | None, sandbox: AbstractAsyncContextManager[Any], most: int) -> Row:
    """One driver on one workload; ``leaves`` is None for lock-step."""
    questions, its_budget = made_up(load.num_problems), budget(load.num_candidates, load.num_rollouts, leaves or 1)
    async with simulated(load.slots, load.token_ms, *STEPS) as (policy, url), sandbox as box:
        parts = Parts(policy, ZeroReward(), box, guides_judge)
        cpu, started = time.process_time(), time.monotonic()
        trees: Sequence[SearchTree | Tree]
        if leaves is None:
            trees = await lock_step(questions, [derived_seed(1, one.id) for one in questions], parts, its_budget)
        else:
            trees = await search_all(questions, parts, its_budget, most)
        wall, cpu = time.monotonic() - started, time.process_time() - cpu
        found = await totals(url)
    return {
        "workload": str(load),
        "driver": "lock-step" if leaves is None else f"ours, {leaves} leaves",
        "wall_s": round(wall, 2),
        "flat ÷ wall": round(found["busy_s"] / load.slots / wall, 3),
        "chain ÷ wall": round(found["chain_s"] / wall, 3),
        "driver_us_per_token": round(1e6 * cpu / found["tokens"], 2),
        "driver_share_of_core": round(cpu / wall, 2),
        "rollouts": sum(tree.num_rollouts for tree in trees),
    }


ENGINES, SLOTS, TOKEN_MS = (1, 2, 4, 8), 256, 12.5


async def node(given: argparse.Namespace) -> dict[str, Any]:
    rows: list[Row] = []
    for engines in ENGINES:
        load = Workload(SLOTS * engines, TOKEN_MS, SLOTS * engines, 4, 8)
        for leaves in (given.leaves, None):
            row = await driven(load, leaves, nullcontext(FreeSandbox()), load.num_problems)
            rows.append({"engines": engines, **row})
            print(rows[-1], flush=True)
    return {"rows": rows}


async def drivers(given: argparse.Namespace) -> dict[str, Any]:
    limits = load_params().sandbox
    rows: list[Row] = []
    for load in WORKLOADS:
        for is_executed in (False, True):
            its: list[Row] = []
            for leaves in (1, given.leaves, None):
                sandbox = ForkSandbox(limits) if is_executed else nullcontext(FreeSandbox())
                its.append({"executed": is_executed, **await driven(load, leaves, sandbox, given.most)})
            for row in its:
                row["lock-step ÷ wall"] = round(its[-1]["wall_s"] / row["wall_s"], 2)
                print(row, flush=True)
            rows += its
    return {"rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("local", "vllm", "simulated", "memory", "drivers", "node"))
    parser.add_argument("--round", default="r1")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--leaves", type=int, default=1)
    parser.add_argument("--most", type=int, default=1024, help="trees under way at once")
    parser.add_argument("--long", action="store_true", help="simulated: up to 100,000 problems as well")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    match given.what:
        case "local" | "vllm":
            figures = on_models(given.what, given)
        case "simulated":
            figures = on_simulated_server(given)
        case "memory":
            figures = memory(given)
        case "node":
            figures = asyncio.run(node(given))
        case _:
            figures = asyncio.run(drivers(given))
    print(json.dumps({"benchmark": given.what, **figures}))


if __name__ == "__main__":
    main()
