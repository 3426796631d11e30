"""A round of a few problems, and the parent of the processes that work on it and are killed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TRAINING = {"epochs": 3, "batch_size": 4}


def params(engine: str) -> dict[str, Any]:
    """One round of a few problems and a model that takes no time."""
    made: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    num_per_level = {"demonstrations": 24, "train": 16, "benchmark": 6}
    for source in made["ingest"]["sources"]:
        source.update(levels=[1], num_per_level=num_per_level[source["split"]])
    made["rounds"] = {"r1": {**made["rounds"]["r1"], "num_rollouts": 3, "num_candidates": 3, "num_trees": 2}}
    made["rounds"]["r1"].update(has_ppm=True, num_system_problems=4)
    model = made["bootstrap"]["model"]
    model["min_written_apart"] = 0.0
    model["architecture"].update(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=400)
    for training in (model["training"], made["train_policy"]["training"], made["train_ppm"]["training"]):
        training.update(TRAINING)
    made["train_ppm"].update(frozen_layers=1, min_updates=0)
    made["engine"]["kind"] = engine
    made["search"].update(max_depth=4, max_step_tokens=16)
    made["evaluate"].update(num_trees=2, num_candidates=2, num_rollouts=2)
    return made


class Nursery:
    """The parent of the processes that are killed."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "RSTAR_CHECKPOINT_S": "0",
            "RSTAR_SANDBOX_SERVERS": "1",
            "RSTAR_MIN_FREE_MIB": "0",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nobody there: tracking gone is no reason to fail
        }
        command = [sys.executable, "-m", "tests.chaos.nursery"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)  # type: ignore[call-overload]
        assert self._line() == "ready"

    def _line(self) -> str:
        return str(self.process.stdout.readline()).strip()

    def start(self, workspace: Path) -> int:
        self.process.stdin.write(f"{workspace}\n")
        self.process.stdin.flush()
        return int(self._line())

    def code(self) -> int:
        self.process.stdin.write("wait\n")
        self.process.stdin.flush()
        return int(self._line())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.process.stdin.close()
    made.process.wait()


def workspace_at(path: Path, engine: str) -> Path:
    path.mkdir()
    (path / "params.yaml").write_text(yaml.safe_dump(params(engine), sort_keys=False))
    return path


def finish(nursery: Nursery, workspace: Path) -> None:
    nursery.start(workspace)
    assert nursery.code() == 0, (workspace / "log").read_text()[-3000:]


def made_in(workspace: Path) -> dict[str, str]:
    """sha256 of everything that is published; seconds are no result."""
    files = (path for path in sorted((workspace / "artifacts").rglob("*")) if path.is_file())
    return {
        path.relative_to(workspace).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "timings.json"
    }
