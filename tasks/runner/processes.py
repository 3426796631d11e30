"""More processes at one stage: what happens between the model's steps is Python, which keeps to one core."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, assert_never

from rstar_core.config import Engine
from rstar_core.engines.capacity import max_trees
from rstar_core.engines.local.models import load_libraries, share_threads
from rstar_core.machine.parent_death import die_with_parent
from rstar_core.machine.variables import SEARCH_PROCESSES

Result = TypeVar("Result")

LOG = Path("run/helpers.log")


def num_processes(engine: Engine) -> int:
    """How many processes a stage's searches are spread over; one where they compute nothing."""
    match engine.kind:
        case "local":
            return SEARCH_PROCESSES.get()
        case "vllm" | "scripted":
            return 1
        case _:
            assert_never(engine.kind)


def num_at_once(engine: Engine, num_trees: int) -> int:
    """How many of ``num_trees`` a process grows at once: what it has begun is lost to the others."""
    return min(max_trees(engine), ceil(num_trees / num_processes(engine)))


@contextmanager
def helped(work: Callable[[], Any], number: int) -> Iterator[None]:
    """While the context lasts, ``number`` other processes do ``work``; they end with it, however it ends.

    They are to share the work by a journal's claims, which the dead give up. What they say or break goes to ``LOG``:
    what a helper leaves undone is done, and told, here.
    """
    context = multiprocessing.get_context("fork")
    helpers = [context.Process(target=_help, args=(work,), daemon=True) for _ in range(number)]
    if number:
        _load(num_processes=number + 1)
    for helper in helpers:
        helper.start()
    try:
        yield
    finally:
        for helper in helpers:
            helper.kill()
            helper.join()


def _help(work: Callable[[], Any]) -> None:
    _begin()
    work()


@contextmanager
def beside(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """While the context lasts, one other process does ``work``, with half of the cores; to call what is yielded waits
    for its result. The process ends with the context, however it ends; what it says goes to ``LOG``.

    Raises:
        RuntimeError: by the call, if the process ended without a result.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    _load(num_processes=2)
    process = context.Process(target=_deliver, args=(work, sender), daemon=True)
    process.start()
    sender.close()  # the other's death is to be the pipe's end

    def result() -> Result:
        try:
            found: Result = receiver.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"the process beside this one ended with exit code {process.exitcode}") from None
        return found

    try:
        yield result
    finally:
        process.kill()
        process.join()
        receiver.close()


def _deliver(work: Callable[[], Any], sender: Connection) -> None:
    _begin()
    sender.send(work())


def _load(num_processes: int) -> None:
    """Load what all of them need, and share the cores out among them. Then copies are made, before anything computes:
    threads at work would not be copied.
    """
    load_libraries()
    share_threads(num_processes)


def _begin() -> None:
    die_with_parent()
    os.dup2(_log(), sys.stderr.fileno())


def _log() -> int:
    """A descriptor for what a helper says; where there can be no log, for nothing."""
    try:
        LOG.parent.mkdir(exist_ok=True)
        return os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
