"""Where the time went: one small table of seconds, stages by rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def times_table(timings: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown; ``timings`` maps a round to its ``timings.json``. Seconds are of the run that made the result."""
    stages = list(dict.fromkeys(stage for round_ in timings.values() for stage in round_))
    rows = [[stage, *(_seconds(timings[name].get(stage)) for name in timings)] for stage in stages]
    totals = [sum(entry["seconds"] for entry in round_.values()) for round_ in timings.values()]
    rows.append(["all", *(f"{total:.0f}" for total in totals)])
    header = ["seconds", *timings]
    return "\n".join(_line(row) for row in [header, ["---"] + ["---:"] * len(timings), *rows])


def _seconds(entry: Mapping[str, float] | None) -> str:
    return f"{entry['seconds']:.1f}" if entry else ""


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
