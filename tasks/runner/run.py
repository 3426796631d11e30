"""Runs one stage: its command line and params in, its metrics file out, last of all."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rstar_core.config import load_params
from rstar_core.io import write_json
from rstar_core.progress import duration
from rstar_core.reports.headlines import headline
from tasks.runner import tracking
from tasks.runner.disk import check_room
from tasks.runner.inputs import sound
from tasks.runner.stages import add_flags, fill_sections, load_stage, tracked_keys
from tasks.runner.timings import FIRST_ROUND, record_timings


def run_stage(name: str, argv: Sequence[str]) -> None:
    """Run the stage, then record timings, metrics and tracking, in that order."""
    function = load_stage(name)
    flags = parse_flags(name, argv)
    inputs, outputs = split_paths(flags)
    round_id = flags.get("round_id")
    sections = fill_sections(function, load_params(), round_id)
    check_room(inputs.values())
    started = time.monotonic()
    with sound(inputs.values(), lambda: fill_sections(function, load_params(), round_id)):
        metrics = function(**{key: value for key, value in flags.items() if key != "metrics"}, **sections)
    rates: dict[str, Any] = metrics.pop("timings", {})
    seconds = time.monotonic() - started
    record_timings(round_id, name, {"seconds": round(seconds, 3), **rates})
    write_json(flags["metrics"], metrics)
    if found := headline(name, metrics):
        print(f"{' '.join(filter(None, (name, round_id)))}: {found}; {duration(seconds)}", file=sys.stderr)
    if tracking.is_logged_by_a_flow():
        return
    params = tracked_keys(sections, function, round_id)
    tracking.log_stage(tracking.StageRun(name, round_id or FIRST_ROUND, inputs, outputs, params))


def split_paths(flags: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Path]]:
    """The path flags as inputs and outputs. Before a stage runs, only its inputs exist: DVC removes its outputs."""
    paths = {name: path for name, path in flags.items() if isinstance(path, Path)}
    inputs = {name: path for name, path in paths.items() if path.exists() and name != "metrics"}
    return inputs, {name: path for name, path in paths.items() if name not in inputs}


def parse_flags(name: str, argv: Sequence[str]) -> dict[str, Any]:
    """The stage's command-line arguments by parameter name, and ``metrics``, the runner's own."""
    function = load_stage(name)
    summary = (function.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog=f"python -m tasks {name}", description=summary, allow_abbrev=False)
    add_flags(parser, function)
    parser.add_argument("--metrics", type=Path, required=True, metavar="PATH", help="written last, by the runner")
    return vars(parser.parse_args(argv))
