"""Seconds and rates of each stage: they differ from run to run, so they stay outside what DVC hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstar_core.io import read_json, write_json
from tasks.runner.workspace import ARTIFACTS

FIRST_ROUND = "r0"  # stages without a round (ingest, bootstrap) make r0


def timings_path(round_id: str | None) -> Path:
    return ARTIFACTS / (round_id or FIRST_ROUND) / "timings.json"


def record_timings(round_id: str | None, stage: str, values: dict[str, Any]) -> None:
    """Set one stage's entry in its round's ``timings.json``; other stages' entries stay."""
    write_json(timings_path(round_id), {**read_timings(round_id), stage: values})


def read_timings(round_id: str | None) -> dict[str, Any]:
    path = timings_path(round_id)
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    return found
