"""kill -9 of a whole flow, DVC and stage with it, at random instants: the next run ends with the same bytes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.chaos.conftest import Nursery, finish, made_in, params, workspace_at
from tests.e2e.test_round import ENVIRONMENT, copy_project, run

NUM_KILLS = int(os.environ.get("RSTAR_CHAOS_FLOW_KILLS") or 0)
STAGES = "ingest bootstrap synthesize@r1 verify@r1 train_policy@r1 train_ppm@r1 evaluate@r1".split()
FLOW = (sys.executable, "-m", "flows.evolve", "--round", "r1")
MORE = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nobody there
    "OMP_NUM_THREADS": "1",
    "RSTAR_CHECKPOINT_S": "0",
    "RSTAR_SANDBOX_SERVERS": "1",
}


def killed(project: Path, stage: str, delay: float) -> tuple[bool, int]:
    """Start a flow and kill it ``delay`` seconds after ``stage`` began; whether it still lived, and the orphans."""
    log = project / "run" / "flow.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as handle:
        flow = subprocess.Popen(FLOW, cwd=project, env={**ENVIRONMENT, **MORE}, stdout=handle, stderr=handle)
    while flow.poll() is None and f"| {stage} | stage " not in log.read_text():
        time.sleep(0.05)
    time.sleep(delay)
    is_alive = flow.poll() is None
    its = psutil.Process(flow.pid).children(recursive=True) if is_alive else []
    flow.kill()
    code = flow.wait()
    assert code in (0, -9), log.read_text()[-3000:]
    _, left = psutil.wait_procs(its, timeout=20)
    return code == -9, len(left)


@pytest.mark.e2e
@pytest.mark.skipif(not NUM_KILLS, reason="takes minutes: RSTAR_CHAOS_FLOW_KILLS says how many kills")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_flow_killed_at_random_instants_ends_with_the_same_bytes(nursery: Nursery, tmp_path: Path) -> None:
    whole, project = workspace_at(tmp_path / "whole", "local"), tmp_path / "project"
    finish(nursery, whole)
    project.mkdir()
    copy_project(project)
    (project / "params.yaml").write_text(yaml.safe_dump(params("local"), sort_keys=False))
    dice, num_killed, orphans = random.Random(2), 0, 0
    chosen = sorted(dice.randrange(len(STAGES)) for _ in range(NUM_KILLS))
    for number in chosen:
        is_killed, left = killed(project, STAGES[number], dice.uniform(0, 6))
        num_killed, orphans = num_killed + is_killed, orphans + left
    run(project, *FLOW, environment=MORE)
    assert made_in(project) == made_in(whole)
    assert "up to date" in run(project, "dvc", "status", "summarize@r1")
    assert not list((project / "journal").glob("*"))
    names = ", ".join(STAGES[number] for number in chosen)
    print(f"\n{num_killed} flows killed ({names}), {len(made_in(whole))} files identical, {orphans} orphans")
    assert orphans == 0
