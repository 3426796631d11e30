"""Seconds and rates of each stage: they differ from run to run, so they stay outside what DVC hashes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from rstar_core.io import read_json, write_json
from tasks.runner.workspace import ARTIFACTS

FIRST_ROUND = "r0"  # stages without a round (ingest, bootstrap) make r0


def timings_path(round_id: str | None) -> Path:
    return ARTIFACTS / (round_id or FIRST_ROUND) / "timings.json"


def record_timings(round_id: str | None, stage: str, values: dict[str, Any]) -> None:
    """Set one stage's entry in its round's ``timings.json``; those of others, which may end at this moment, stay."""
    path = timings_path(round_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        write_json(path, {**read_timings(round_id), stage: values})
    finally:
        os.close(folder)


def read_timings(round_id: str | None) -> dict[str, Any]:
    path = timings_path(round_id)
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    return found
