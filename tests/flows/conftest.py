"""A tiny project that DVC and Prefect take for a real one: two rounds of shell commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from prefect.testing.utilities import prefect_test_harness

from rstar_core.machine.variables import WARM_SOCKET
from tests.chaos.conftest import nursery  # noqa: F401  a fixture
from tests.flows.prefect_database import copy_database

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  gather:
    cmd: echo gathered; echo 1 > data
    outs: [data]
  train:
    foreach: ${rounds}
    do:
      cmd: sh train.sh ${key}
      deps: ["out/${item.from}/model"]
      outs: ["out/${key}/model"]
      meta: {retries: 2}
  report:
    foreach: ${rounds}
    do:
      cmd: sh report.sh ${key}
      deps: ["out/${key}/model"]
      params: ["rounds.${key}.num_rollouts"]
      outs: ["out/${key}/summary.md"]
      metrics: ["out/${key}/summary.json"]
  base:
    cmd: cp data out/r0/model
    deps: [data]
    outs: [out/r0/model]
"""


class Project:
    """The project in the current folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def script(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def change_round(self, round_id: str, **values: Any) -> None:
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        params["rounds"][round_id].update(values)
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def set_accuracy(self, **greedy: float) -> None:
        """What the rounds will report."""
        rows: list[dict[str, Any]] = []
        for round_id, value in greedy.items():
            rows.append({"round_id": round_id, "policy_pass@1": {"all": value}, "system@N": None})
            (self.root / f"{round_id}.json").write_text(json.dumps({"rounds": rows}))


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    def folder() -> str:
        made = tmp_path_factory.mktemp("prefect")
        copy_database(tmp_path_factory, made / "prefect-test.db")
        return str(made)

    with patch("prefect.testing.utilities.mkdtemp", folder), prefect_test_harness(server_startup_timeout=90):
        yield


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a process whose copies DVC runs in: to start it anew takes most of a test's time."""
    address = tmp_path_factory.mktemp("warm") / "socket"
    process = subprocess.Popen([sys.executable, "-m", "tasks.runner.warm", str(address)], cwd=ROOT)
    while not address.exists():
        assert process.poll() is None
        time.sleep(0.1)
    yield str(address)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``dvc init`` makes."""
    made = tmp_path_factory.mktemp("repository")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=made, check=True)
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect: None, warm: str, repository: Path) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(WARM_SOCKET.name, warm)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody there: the flow must not mind
    monkeypatch.setattr("flows.reproduce.RETRY_DELAY_SECONDS", 0)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["rounds"] = dict(list(params["rounds"].items())[:2])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    for round_id in ("r0", "r1", "r2"):
        (tmp_path / "out" / round_id).mkdir(parents=True)
    made = Project(tmp_path)
    made.set_accuracy(r0=0.5, r1=0.6, r2=0.7)
    made.script("train.sh", "echo trained $1; echo $1 > out/$1/model")
    made.script("report.sh", "echo '| table |' > out/$1/summary.md; cp $1.json out/$1/summary.json")
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    remote = f"    remote = here\n['remote \"here\"']\n    url = {tmp_path / 'remote'}\n"
    with (tmp_path / ".dvc/config").open("a") as config:
        config.write(remote)
    return made
