"""The database of a Prefect server that was never used. To make one takes a quarter of a minute, so it is made once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock


def copy_database(tmp_path_factory: pytest.TempPathFactory, target: Path) -> None:
    """Put one at ``target``; all workers of the tests take copies of the same."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home = shared / "prefect-home"
    with FileLock(shared / "prefect-home.lock"):
        if not home.exists():
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            new = shared / "prefect-home-new"
            subprocess.run(command, env={**os.environ, "PREFECT_HOME": str(new)}, check=True, capture_output=True)
            new.rename(home)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(home / "prefect.db", target)
