"""A search on a real Ray cluster of this machine, of which a node is killed and one is added in the middle.

``make test-ray``. The trees are those of a search without Ray.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rstar_core.io import digest
from tests.chaos.conftest import params
from tests.chaos.nursery import commands

ROOT = Path(__file__).parents[2]
NUM_PROBLEMS = 160
pytestmark = [pytest.mark.ray, pytest.mark.timeout(560)]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


def environment(**more: str) -> dict[str, str]:
    own = {"RSTAR_SEARCH_PROCESSES": "1", "RSTAR_SANDBOX_SERVERS": "1", "OMP_NUM_THREADS": "1"}
    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, **nobody, **more}


def start(workspace: Path, stage: str, **more: str) -> subprocess.Popen[str]:
    (arguments,) = [arguments for name, arguments, _ in commands() if name == stage]
    command = [sys.executable, "-m", "tasks", *arguments]
    with (workspace / "log").open("a") as log:
        return subprocess.Popen(command, cwd=workspace, env=environment(**more), stdout=log, stderr=log, text=True)


def run(workspace: Path, *stages: str, **more: str) -> None:
    for stage in stages:
        assert start(workspace, stage, **more).wait() == 0, said(workspace)


def said(workspace: Path) -> str:
    return (workspace / "log").read_text()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose r1 has been searched by this machine alone."""
    made = tmp_path_factory.mktemp("alone")
    its = params("local")
    for source in its["ingest"]["sources"]:
        source.update(num_per_level={"train": NUM_PROBLEMS}.get(source["split"], source["num_per_level"]))
    its["rounds"]["r1"].update(num_rollouts=12)
    (made / "params.yaml").write_text(yaml.safe_dump(its, sort_keys=False))
    run(made, "ingest", "bootstrap", "synthesize")
    return made


def before_search(searched: Path, target: Path) -> Path:
    shutil.copytree(searched, target, ignore=shutil.ignore_patterns("trees", "synthesize.json", "journal", "log"))
    return target


def until(condition: Callable[[], bool], process: subprocess.Popen[str], workspace: Path) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, said(workspace)
        time.sleep(0.1)


def num_recorded(workspace: Path) -> int:
    """Roughly: by the size of what the journal holds."""
    return sum(file.stat().st_size for file in workspace.glob("journal/*/*.segment"))


def test_nodes_that_come_and_go_grow_the_trees_of_one_machine(searched: Path, tmp_path: Path, cluster: Any) -> None:
    whole = num_bytes(searched)
    workspace = before_search(searched, tmp_path / "cluster")
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    search = start(workspace, "synthesize", RSTAR_RAY_ADDRESS=cluster.address)
    until(lambda: num_recorded(workspace) > whole / 5, search, workspace)
    cluster.remove_node(nodes[0], allow_graceful=False)
    cluster.add_node(num_cpus=1)
    assert search.wait() == 0, said(workspace)
    print(said(workspace))
    assert "lost a worker on node" in said(workspace) and "2 nodes" in said(workspace)
    assert digest(workspace / "artifacts/r1/trees") == digest(searched / "artifacts/r1/trees")
    assert not list((workspace / "journal").glob("*")), "a finished stage leaves no journal"


def num_bytes(searched: Path) -> int:
    return sum(file.stat().st_size for file in (searched / "artifacts/r1/trees").iterdir())


def test_an_evaluation_has_the_same_answers(searched: Path, tmp_path: Path, cluster: Any) -> None:
    run(searched, "evaluate_r0")
    workspace = before_search(searched, tmp_path / "cluster")
    for made in ("predictions.parquet", "metrics/evaluate.json"):
        (workspace / "artifacts/r0" / made).unlink()
    cluster.add_node(num_cpus=1)
    run(workspace, "evaluate_r0", RSTAR_RAY_ADDRESS=cluster.address)
    name = "artifacts/r0/predictions.parquet"
    assert (workspace / name).read_bytes() == (searched / name).read_bytes()


def test_a_second_look_by_nodes_that_come_and_go_is_that_of_one_machine(
    searched: Path, tmp_path: Path, cluster: Any
) -> None:
    run(searched, "verify")
    workspace = tmp_path / "cluster"
    shutil.copytree(searched, workspace, ignore=shutil.ignore_patterns("trajectories", "verify.json", "journal", "log"))
    node = cluster.add_node(num_cpus=1)
    look = start(workspace, "verify", RSTAR_RAY_ADDRESS=cluster.address)
    until(lambda: num_recorded(workspace) > 0, look, workspace)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    assert look.wait() == 0, said(workspace)
    assert digest(workspace / "artifacts/r1/trajectories") == digest(searched / "artifacts/r1/trajectories")


def test_no_cluster_is_one_line(searched: Path, tmp_path: Path) -> None:
    workspace = before_search(searched, tmp_path / "cluster")
    assert start(workspace, "synthesize", RSTAR_RAY_ADDRESS="127.0.0.1:9").wait() == 2
    assert "error: RSTAR_RAY_ADDRESS: no cluster at '127.0.0.1:9'" in said(workspace)
    assert "Traceback" not in said(workspace)
