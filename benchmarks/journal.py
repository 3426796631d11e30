"""What journalling costs a search: the same searches with the journal and with a journal that keeps nothing.

``python -m benchmarks.journal`` prints the ratio of CPU seconds of a search without any model, the seconds of one
append, and the share that appends have of a search as long as the paper's. ``--model`` prints the ratio for searches on
engine ``local`` instead, with a model of the embedded default's shape, untrained, and the real sandbox. Baseline and
measured run alternate in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rstar_core.answers.equivalence import Grader
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import load_params
from rstar_core.engines.base import ZeroReward
from rstar_core.engines.capacity import max_trees
from rstar_core.engines.load import load_policy
from rstar_core.engines.scripted import ScriptedPolicy
from rstar_core.io import read_problems
from rstar_core.journal.folder import FolderJournal
from rstar_core.journal.key import JournalKey
from rstar_core.mcts.scheduler import Job, grow
from rstar_core.mcts.search import Budget, Parts
from rstar_core.mcts.synthesis import budget_of, truths_judge
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.types import Problem, Question
from tests.unit.mcts.scripts import ToySandbox, answer, code, end, truth

KEY = JournalKey("benchmark", "r1", {}, {}, "")
RECORD_BYTES = 97_000  # a problem's tree in the paper's setting


class NoJournal:
    """Forgets what it is given."""

    def __contains__(self, key: object) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def append(self, key: str, value: Any) -> None: ...

    def read(self, keys: Iterable[str]) -> Iterator[Any]:
        return iter(())

    def claim(self, key: str) -> bool:
        return True

    def refresh(self) -> None: ...

    def discard(self) -> None: ...

    def close(self) -> None: ...


def jobs(count: int, num_rollouts: int) -> list[Job]:
    def say(question: Question, prefix: Any) -> list[str]:
        values = "12345678"
        return (
            [answer(v) for v in values]
            if len(prefix) > 3
            else [(end if len(prefix) == 3 else code)(f"n = {v}") for v in values]
        )

    parts = Parts(ScriptedPolicy(say, is_drawn=True), ZeroReward(), ToySandbox(), truth("5"))
    budget = Budget(
        num_candidates=8, num_rollouts=num_rollouts, extra_rollouts=0, max_depth=8, uct_c=2.0, settled_after=None
    )
    return [Job(str(n), Question(str(n), f"question {n}"), "r1", 0, parts, budget, seed=n) for n in range(count)]


def search(journal: Any, its_jobs: list[Job]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.monotonic()
    asyncio.run(grow("search", its_jobs, len(its_jobs), journal, 16))
    return time.process_time() - cpu, time.monotonic() - wall


async def search_on_model(policy: Path, problems: Sequence[Problem], journal: Any) -> float:
    """CPU seconds of this process, with a fresh engine, which is warm."""
    params, its_round = load_params(), next(iter(load_params().rounds.values()))
    models = load_policy(policy, params.engine)
    sampler = models.sampler(params.search)
    async with models, ForkSandbox(params.sandbox) as box, GraderSandbox() as graders:
        await sampler.propose(Question("warm", "Warm up."), (), num_candidates=2, seed=1)
        grader, its_budget = Grader(graders), budget_of(params.search, its_round)

        def job(seed: int, one: Problem) -> Job:
            parts = Parts(sampler, ZeroReward(), box, truths_judge(grader, one))
            return Job(one.id, one.question, "r1", 0, parts, its_budget, seed)

        its_jobs = [job(seed, one) for seed, one in enumerate(problems)]
        cpu = time.process_time()
        await grow("search", its_jobs, len(its_jobs), journal, max_trees(params.engine))
        return time.process_time() - cpu


def on_model(policy: Path, num_problems: int, num_pairs: int) -> None:
    problems = read_problems("artifacts/problems/train.parquet")
    problems = problems[:: max(1, len(problems) // num_problems)]
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for number in range(num_pairs):
            for name in sorted(seconds, reverse=bool(number % 2)):
                journal = NoJournal() if name == "without" else FolderJournal(Path(folder) / str(number), KEY)
                seconds[name].append(asyncio.run(search_on_model(policy, problems, journal)))
                journal.discard()
    ratios = [a / b for a, b in zip(seconds["with"], seconds["without"], strict=True)]
    print(f"{len(problems)} trees, {num_pairs} pairs; CPU seconds: {seconds}")
    print(
        f"with / without: median of pairs {statistics.median(ratios):.4f}, least by least "
        f"{min(seconds['with']) / min(seconds['without']):.4f}, {ratios}"
    )


def append_seconds(folder: Path, count: int) -> list[float]:
    journal, found = FolderJournal(folder, KEY), []
    for number in range(count):
        key, value = str(number), "x" * RECORD_BYTES
        started = time.monotonic()
        journal.claim(key)
        journal.append(key, value)
        found.append(time.monotonic() - started)
    journal.discard()
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--rollouts", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--policy", type=Path, help="a policy's folder; artifacts/problems must be beside")
    parser.add_argument("--problems", type=int, default=100)
    given = parser.parse_args()
    if given.policy:
        on_model(given.policy, given.problems, given.pairs)
        return
    ratios = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        its_jobs = jobs(given.trees, given.rollouts)
        for number in range(given.pairs):
            journal = FolderJournal(Path(folder) / str(number), KEY)
            (without, _), (with_, _) = search(NoJournal(), its_jobs), search(journal, its_jobs)
            journal.discard()
            ratios.append(with_ / without)
        seconds = append_seconds(Path(folder) / "append", 200)
    p50, p99 = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    print(f"CPU with the journal / without, of a search without any model: {statistics.median(ratios):.3f} {ratios}")
    print(f"claim and append of {RECORD_BYTES} bytes: {1000 * p50:.2f} ms (p50), {1000 * p99:.2f} ms (p99)")
    print(f"share of a search of 10 s: {100 * p50 / 10:.4f} %")


if __name__ == "__main__":
    main()
