"""Where the time went, stage by stage, and where it will go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flows.graph import Stage
from flows.schedule import makespan
from rstar_core.progress import duration
from tasks.runner.timings import read_timings


def times_table(timings: Mapping[str, Mapping[str, Any]], solved: Mapping[str, float | None]) -> list[list[str]]:
    """A row for each stage; ``timings`` maps a round to its ``timings.json``, ``solved`` to how many training problems
    its search has solved. Seconds are of the run that made the result.
    """
    stages = list(dict.fromkeys(stage for round_ in timings.values() for stage in round_))
    rows = [[stage, *(_seconds(timings[name].get(stage)) for name in timings)] for stage in stages]
    totals = [sum(entry["seconds"] for entry in round_.values()) for round_ in timings.values()]
    rows.append(["all", *(f"{total:.0f}" for total in totals)])
    rows.append(["search, a solved problem", *(_share(timings[name], solved.get(name)) for name in timings)])
    return [["seconds", *timings], *rows]


def _seconds(entry: Mapping[str, float] | None) -> str:
    return f"{entry['seconds']:.1f}" if entry else ""


def _share(its: Mapping[str, Any], num_solved: float | None) -> str:
    return f"{its['synthesize']['seconds'] / num_solved:.2f}" if num_solved and "synthesize" in its else ""


def outlook(stages: Sequence[Stage], kept: Collection[str], at_once: int) -> str:
    """How many stages are to run, and how long that takes by what each took when it last ran, where all have."""
    waiting = [stage for stage in stages if stage.name not in kept]
    said = f"{len(stages)} stages, {len(stages) - len(waiting)} of them up to date"
    seconds = {stage.name: took for stage in waiting if (took := last_seconds(stage)) is not None}
    if not waiting or len(seconds) < len(waiting):
        return said
    return f"{said}; the others will take some {duration(makespan(waiting, at_once, seconds))}, as when they last ran"


def outlook_by_stage(stages: Sequence[Stage], kept: Collection[str], at_once: int) -> str:
    """A line for each stage, and ``outlook``."""
    width = max(len(stage.name) for stage in stages)
    lines = []
    for stage in stages:
        seconds = last_seconds(stage)
        took = "" if seconds is None else f", took {duration(seconds)} when it last ran"
        lines.append(f"{stage.name:<{width}}  {'up to date' if stage.name in kept else 'to run'}{took}")
    return "\n".join([*lines, outlook(stages, kept, at_once)])


def last_seconds(stage: Stage) -> float | None:
    """What ``timings.json`` has of it, if anything."""
    words = stage.command.partition("-m tasks ")[2].split()
    seconds: float | None = read_timings(stage.round_id).get(words[0] if words else "", {}).get("seconds")
    return seconds
