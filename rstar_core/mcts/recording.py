"""Between searches and their journal: claims, finished trees and failures, on threads that no search waits for."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rstar_core.io import row_from_tree, tree_from_row
from rstar_core.journal import Journal
from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.types import SearchTree, Terminal

Result = TypeVar("Result")
MAX_ATTEMPTS = 3  # at a tree, all runs of the stage together
_NUM_THREADS = 4  # an object store answers several requests at once
_MAX_UNWRITTEN = 256  # finished trees that wait for the disk


def record(tree: SearchTree, level: str) -> dict[str, Any]:
    """What the journal keeps of a tree: its row, and the isolation that its code ran under.

    The level is the machine's doing, so it is no part of the row: published trees are the same on every machine that
    gives the same verdicts.
    """
    return {"sandbox": level, "tree": row_from_tree(tree)}


def recorded_trees(journal: Journal, keys: Iterable[str]) -> Iterator[SearchTree]:
    """The trees under ``keys``, in their order and one at a time."""
    return (tree_from_row(value["tree"]) for value in journal.read(keys))


def given_up(problem_id: str, round_id: str, tree_index: int) -> SearchTree:
    """The tree of a search that failed ``MAX_ATTEMPTS`` times: a root that says so."""
    tree = Tree()
    tree[ROOT].terminal = Terminal.GIVEN_UP
    return tree.freeze(problem_id, round_id, tree_index)


class Recorder:
    """A journal for searches on an event loop, which a disk, a lock or a network must not stop.

    On leaving the context, by an error too, all that was put is on disk.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="journal")
        self._pending: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def claim(self, key: str) -> bool:
        return await self._elsewhere(self._journal.claim, key)

    async def refresh(self) -> None:
        await self._elsewhere(self._journal.refresh)

    async def put(self, key: str, tree: SearchTree, level: str) -> None:
        """Waits only where the disk is far behind."""
        self._pending.append(self._elsewhere(self._append, key, tree, level))
        while self._pending and (self._pending[0].done() or len(self._pending) > _MAX_UNWRITTEN):
            await self._pending.popleft()

    async def fail(self, key: str, error: Exception) -> bool:
        """Record that an attempt at ``key`` has failed; whether there may be another one."""
        return await self._elsewhere(self._fail, key, error)

    def _elsewhere(self, work: Callable[..., Result], *arguments: Any) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _append(self, key: str, tree: SearchTree, level: str) -> None:
        self._journal.append(key, record(tree, level))

    def _fail(self, key: str, error: Exception) -> bool:
        attempt = 1 + sum(attempt_key(key, number) in self._journal for number in range(1, MAX_ATTEMPTS))
        self._journal.append(attempt_key(key, attempt), {"error": "".join(traceback.format_exception(error))})
        then = "tried again" if attempt < MAX_ATTEMPTS else "given up, and counted in num_failed"
        print(f"tree {key}: attempt {attempt} of {MAX_ATTEMPTS}: {_one_line(error)}; {then}", file=sys.stderr)
        return attempt < MAX_ATTEMPTS

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()
        if error is None:
            for written in self._pending:
                await written


def attempt_key(key: str, number: int) -> str:
    """Where the journal keeps the failure of an attempt at ``key``."""
    return f"{key}#{number}"


def _one_line(error: Exception) -> str:
    """Kind, text and place of an error."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place})"
