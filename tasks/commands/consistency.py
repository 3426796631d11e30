"""``python -m tasks check``: is what lies here what was made, and does each part come from the part before it?

Files are checked against dvc.lock, shards against their manifests, rows and checkpoints against what they name, metrics
against the rows that they sum up, and MLflow against the metrics files. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.errors import UserError
from rstar_core.shards import MANIFEST, manifest, sealed
from tasks.commands.lineage import checkpoints, metrics, rows
from tasks.runner.lock import LOCK, fault, read_lock
from tasks.runner.tracking import compare


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what is wrong with it: one line each."""

    num_checked: dict[str, int]
    faults: list[str]


def check_all() -> Report:
    """Every check.

    Raises:
        UserError: nothing has run yet.
    """
    if not LOCK.exists():
        raise UserError(f"{LOCK}: not found; run a round first")
    stages: dict[str, Any] = read_lock()
    checks = {
        "outputs": _outputs(stages),
        "inputs": _inputs(stages),
        "shards": _shards(stages),
        "lineage": rows(),
        "checkpoints": checkpoints(),
        "metrics": metrics(),
        "tracking": compare(),
    }
    counts, faults = {}, []
    for name, found in checks.items():
        lines = list(found)
        counts[name] = len(lines)
        faults += [line for line in lines if line]
    return Report(counts, faults)


def _outputs(stages: dict[str, Any]) -> Iterator[str]:
    """A line for each output of dvc.lock, empty where it is what was made."""
    for name, stage in stages.items():
        yield from (fault(name, out) for out in stage.get("outs", []))


def _inputs(stages: dict[str, Any]) -> Iterator[str]:
    """A line for each input that another stage made, empty where it was that stage's present output."""
    made = {out["path"]: (name, out["md5"]) for name, stage in stages.items() for out in stage.get("outs", [])}
    for name, stage in stages.items():
        for dep in stage.get("deps", []):
            if dep["path"] in made:
                maker, md5 = made[dep["path"]]
                line = f"{name}: ran on another {dep['path']} than {maker} has made; run: dvc repro {name}"
                yield "" if dep["md5"] == md5 else line


def _shards(stages: dict[str, Any]) -> Iterator[str]:
    folders = [Path(out["path"]) for stage in stages.values() for out in stage.get("outs", [])]
    for folder in folders:
        if (folder / MANIFEST).exists():
            try:
                for shard in manifest(folder):
                    sealed(folder, shard)
                    yield ""
            except UserError as error:
                yield str(error)
