"""Many searches at once: each goes on as soon as its own answers are there, none waits for the slowest."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeVar

from rstar_core.engines.base import PolicyEngine, num_waiting
from rstar_core.errors import UserError
from rstar_core.journal import Journal
from rstar_core.mcts.recording import Recorder, given_up, recorded_trees
from rstar_core.mcts.search import Budget, Parts, search
from rstar_core.mcts.window import Window
from rstar_core.progress import Progress
from rstar_core.types import Question, SearchTree

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_FAILED = 0.01  # share of a call's jobs that may be at fault for their failure
_Outcome = SearchTree | Exception | None  # None: there already, or another worker is at it
_LOOK_SECONDS = 1.0  # between looks at how busy the engine is
_WAIT_SECONDS = 1.0  # between looks at what other workers have finished


@dataclass(frozen=True, slots=True)
class Job:
    """One tree to grow. ``key`` names it in the journal."""

    key: str
    question: Question
    round_id: str
    tree_index: int
    parts: Parts
    budget: Budget
    seed: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What this call of ``grow`` did, apart from what was in the journal."""

    num_trees: int
    num_tokens: int


def in_mixed_order(items: Iterable[Item]) -> list[Item]:
    """The same items in the same mixed order each time: a rate holds to the end only if the hard ones don't come last.

    Files of problems are often in the order of their levels.
    """
    mixed = list(items)
    random.Random(0).shuffle(mixed)
    return mixed


async def grow_trees(what: str, jobs: Sequence[Job], journal: Journal, max_running: int) -> list[SearchTree]:
    """The tree of each job, in the jobs' order; those that ``journal`` has are not grown again."""
    await grow(what, jobs, len(jobs), journal, max_running)
    return list(recorded_trees(journal, (job.key for job in jobs)))


async def grow(what: str, jobs: Iterable[Job], num_jobs: int, journal: Journal, max_running: int) -> Growth:
    """Put the tree of each job into ``journal``, unless it is there; at most ``max_running`` grow at once.

    Jobs are asked for as their time comes, and a finished tree is let go of: memory does not grow with their number.
    What another worker is at is left to it, and looked after at the end. A search that fails costs no other one: it is
    tried again when they are done, up to ``MAX_ATTEMPTS`` times, then its tree is ``given_up``. Where more than
    ``MAX_FAILED`` of the jobs fail, or all, it is not their doing: the error is raised, and nothing is held against
    them.
    """
    async with Recorder(journal) as recorder:
        crew = _Crew(recorder, journal, Progress(what, num_jobs, "trees"), Window(max_running, num_jobs), num_jobs)
        while jobs := await crew.work_off(jobs):
            pass
        return Growth(crew.num_trees, crew.num_tokens)


@dataclass(slots=True)
class _Crew:
    """The searches of one call of ``grow``, and what has come of them so far."""

    recorder: Recorder
    journal: Journal
    progress: Progress
    window: Window
    num_jobs: int
    policy: PolicyEngine | None = None  # that the latest search asks
    num_trees: int = 0
    num_tokens: int = 0
    started: float = field(default_factory=time.monotonic)

    async def work_off(self, jobs: Iterable[Job]) -> list[Job]:
        """Grow what is not there yet; the jobs that need another look."""
        elsewhere: list[Job] = []
        failed: list[tuple[Job, Exception]] = []
        looked = time.monotonic()
        async for job, outcome in as_completed(self._searches(jobs), self.window, self._num_waiting):
            if isinstance(outcome, SearchTree):
                await self._keep(job, outcome)
            elif isinstance(outcome, Exception):
                failed.append((job, outcome))
                if len(failed) > min(ceil(MAX_FAILED * self.num_jobs), self.num_jobs - 1):
                    raise outcome
            elif job.key in self.journal:
                self.progress.skip()
            else:
                elsewhere.append(job)
            if elsewhere and time.monotonic() - looked >= _WAIT_SECONDS:
                elsewhere, looked = await self._unrecorded(elsewhere), time.monotonic()
        again = [job for job, error in failed if await self._may_try_again(job, error)]
        if elsewhere:
            await asyncio.sleep(_WAIT_SECONDS)
            elsewhere = await self._unrecorded(elsewhere)
        return elsewhere + again

    async def _unrecorded(self, jobs: Sequence[Job]) -> list[Job]:
        """What other workers have not recorded either, by now."""
        await self.recorder.refresh()
        left = [job for job in jobs if job.key not in self.journal]
        self.progress.advance(len(jobs) - len(left))
        return left

    def _searches(self, jobs: Iterable[Job]) -> Iterator[Coroutine[Any, Any, tuple[Job, _Outcome]]]:
        for job in jobs:
            self.window.take()
            if job.key in self.journal:
                self.progress.skip()
            else:
                self.policy = job.parts.policy
                yield self._search(job)

    async def _search(self, job: Job) -> tuple[Job, _Outcome]:
        if not await self.recorder.claim(job.key):
            return job, None
        try:
            tree = await search(job.question, job.parts, job.budget, job.seed)
        except UserError:
            raise
        except Exception as error:  # a poisonous problem must not cost the others; it is recorded and counted
            return job, error
        return job, tree.freeze(job.question.id, job.round_id, job.tree_index)

    async def _keep(self, job: Job, tree: SearchTree) -> None:
        await self.recorder.put(job.key, tree, job.parts.sandbox.level)
        self.num_trees, self.num_tokens = self.num_trees + 1, self.num_tokens + tree.num_tokens
        self.progress.advance(note=f"{self.num_tokens / (time.monotonic() - self.started):.0f} tokens/s")

    async def _may_try_again(self, job: Job, error: Exception) -> bool:
        if await self.recorder.fail(job.key, error):
            return True
        await self._keep(job, given_up(job.question.id, job.round_id, job.tree_index))
        return False

    def _num_waiting(self) -> int:
        return 0 if self.policy is None else num_waiting(self.policy)


async def as_completed(
    work: Iterable[Coroutine[Any, Any, Result]], window: Window, num_waiting: Callable[[], int] = lambda: 0
) -> AsyncIterator[Result]:
    """Results in the order in which they come; the first error ends the others and is raised."""
    left = iter(work)
    running: set[asyncio.Task[Result]] = set()
    done: asyncio.Queue[asyncio.Task[Result]] = asyncio.Queue()
    looked = time.monotonic()
    try:
        while True:
            while window.has_room(len(running)) and (coroutine := next(left, None)):
                task = asyncio.create_task(coroutine)
                running.add(task)
                task.add_done_callback(done.put_nowait)
            if not running:
                return
            finished = await _within(_LOOK_SECONDS, done)
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                window.adapt(len(running), num_waiting())
            if finished is not None:
                running.discard(finished)
                yield finished.result()
    finally:
        for task in running:
            task.cancel()


async def _within(seconds: float, queue: asyncio.Queue[Result]) -> Result | None:
    if not queue.empty():
        return queue.get_nowait()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await queue.get()
    return None
