"""Which stage runs when: as soon as those that it needs have ended, as many beside each other as there is room for."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.graph import Stage
from rstar_core.config import Engine
from rstar_core.machine import variables
from rstar_core.machine.gpus import gpus_here

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectFuture


def num_at_once(engine: Engine) -> int:
    """How many stages run beside each other: two where there are two cores, one where there are GPUs, for each takes
    all of them. ``RSTAR_STAGES`` has the last word.
    """
    is_shared = engine.kind != "vllm" and not gpus_here() and (os.cpu_count() or 1) > 1
    return variables.STAGES.get() or (2 if is_shared else 1)


def as_they_end(
    stages: Sequence[Stage], at_once: int, start: Callable[[Stage, int], PrefectFuture[Any]]
) -> Iterator[tuple[Stage, State[Any]]]:
    """Each stage with its final state. ``start`` is told how many run beside each other from then on.

    What a stage needs and is not among ``stages`` has ended before. Whoever sees a stage fail asks for no more.
    """
    from prefect.futures import as_completed

    waiting, running = list(stages), dict[Any, Stage]()
    while waiting or running:
        ready = _ready(waiting, (stage.name for stage in running.values()))
        together = min(at_once, len(running) + len(ready))
        for stage in ready[: at_once - len(running)]:
            waiting.remove(stage)
            running[start(stage, together)] = stage
        ended = next(as_completed(list(running)))
        ended.wait()  # until then its state is that of its beginning
        yield running.pop(ended), ended.state


def makespan(stages: Sequence[Stage], at_once: int, seconds: Mapping[str, float]) -> float:
    """How long ``as_they_end`` takes for stages of so many ``seconds``, if none were slower beside another."""
    waiting, running, now = list(stages), list[tuple[float, str]](), 0.0
    while waiting or running:
        for stage in _ready(waiting, (name for _, name in running))[: at_once - len(running)]:
            waiting.remove(stage)
            heapq.heappush(running, (now + seconds[stage.name], stage.name))
        now, _ = heapq.heappop(running)
    return now


def share_of_threads(together: int) -> dict[str, str]:
    """The environment of one of ``together`` stages: trainings that have two threads each on two cores are many times
    slower than with one.
    """
    if together == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // together))}


def _ready(waiting: Sequence[Stage], running: Iterable[str]) -> list[Stage]:
    unfinished = {*running, *(stage.name for stage in waiting)}
    return [stage for stage in waiting if not stage.needs & unfinished]
