"""A killed flow takes DVC and the stage with it, and the next run is not in their way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
STAGE = """
import os, pathlib, time
from rstar_core.machine.parent_death import die_with_parent
die_with_parent()
pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(float(pathlib.Path("seconds").read_text()))
pathlib.Path("out").write_text("done")
"""
FLOW = (
    "from flows.dvc_process import run_dvc; raise SystemExit(run_dvc(['repro', '--single-item', 'sleep'], {}, print))"
)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])  # some replace themselves by a last command, some wait
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_kill_9_ends_the_stage_and_blocks_nothing(tmp_path: Path, shell: str) -> None:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "seconds").write_text("60")
    (tmp_path / "dvc.yaml").write_text("stages: {sleep: {cmd: exec python stage.py, outs: [out]}}")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SHELL": shell}
    flow = subprocess.Popen([sys.executable, "-c", FLOW], cwd=tmp_path, env=environment)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    stage = int((tmp_path / "pid").read_text())
    its = psutil.Process(flow.pid).children(recursive=True)
    assert stage in {process.pid for process in its}
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    _, left = psutil.wait_procs(its, timeout=20)  # DVC's process too: it holds the lock until it is reaped
    assert not left
    (tmp_path / "seconds").write_text("0")
    subprocess.run([sys.executable, "-c", FLOW], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "out").read_text() == "done"


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
