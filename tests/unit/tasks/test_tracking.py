"""Tracking mirrors the files: what one stage leaves in MLflow, twice the same, and nothing can fail the stage."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rstar_core.machine.variables import MLFLOW_RUN_ID
from tasks.runner import tracking
from tasks.runner.lock import dvc_md5
from tasks.runner.tracking import (
    StageRun,
    best_round,
    close_round,
    curve_points,
    log_stage,
    metric_name,
    open_round,
    recorded_runs,
    stage_metrics,
)

ROOT = Path(__file__).parents[3]
ROWS = [
    {"round_id": "r0", "coverage": None, "policy_pass@1": {"all": 0.5, "level_1": 0.75}, "system@N": None},
    {"round_id": "r1", "coverage": {"all": 0.8}, "policy_pass@1": {"all": 0.6}, "system@N": {"all": 0.7}},
]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for name in ("MLFLOW_TRACKING_URI", MLFLOW_RUN_ID.name, "RSTAR_EXPERIMENT"):
        monkeypatch.setenv(name, "")  # so that what the code sets is taken back
        monkeypatch.delenv(name)
    for folder in ("sft", "policy", "curves", "metrics"):
        (tmp_path / "artifacts/r1" / folder).mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a", "b"]}), "artifacts/r1/sft/train.parquet")
    Path("artifacts/r1/policy/config.json").write_text("{}")
    Path("artifacts/r1/curves/train.csv").write_text("step,loss,rate\n1,2.5,\n2,1.5,0.1\n")
    Path("artifacts/r1/timings.json").write_text('{"train": {"seconds": 3.0, "tokens/s": 100, "sandbox": "seccomp"}}')
    Path("artifacts/r1/metrics/train.json").write_text('{"final_loss": 1.5, "pass@1": {"level_3": 0.25}, "by": "me"}')
    Path("artifacts/r1/summary.json").write_text(json.dumps({"rounds": ROWS}))
    Path("artifacts/r1/summary.md").write_text("| r1 |")
    yield tmp_path


def training() -> StageRun:
    root = Path("artifacts/r1")
    outputs = {"policy": root / "policy", "curve": root / "curves/train.csv", "metrics": root / "metrics/train.json"}
    return StageRun("train", "r1", {"sft": root / "sft"}, outputs, {"seed": 1, "rounds.r1": {"guide": "terminal"}})


def summary() -> StageRun:
    root = Path("artifacts/r1")
    outputs = {"table": root / "summary.md", "metrics": root / "summary.json"}
    return StageRun("summarize", "r1", {}, outputs, {})


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.tracking_uri())


@pytest.mark.slow
def test_a_stage_and_a_summary_fill_the_rounds_run_and_doing_it_twice_adds_nothing(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in (training(), summary(), training(), summary()):
        log_stage(run)
    assert capsys.readouterr().err == ""
    mlflow = client()
    experiment = mlflow.get_experiment_by_name("rstar-math")
    runs = {run.data.tags["rstar.round"]: run for run in mlflow.search_runs([experiment.experiment_id])}
    assert set(runs) == {"all", "r1"}
    child, parent = runs["r1"], runs["all"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["rstar.sandbox"] == "seccomp"
    assert parent.info.run_name == "own params · seed 20260" and child.info.run_name == "r1"
    for run in (parent, child):
        assert run.data.tags["mlflow.note.content"] == Path("artifacts/r1/summary.md").read_text()
        assert (
            run.data.tags["mlflow.user"] == getpass.getuser() and run.data.tags["mlflow.source.name"] == "rstar evolve"
        )
    assert (child.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    assert child.data.params == {"seed": "1", "Round.guide": "terminal"}
    expected = {
        "train/final_loss": 1.5,
        "train/pass_at_1/level_3": 0.25,
        "time/train/tokens/s": 100,
        "Summary/system_at_n": 0.7,
    }
    assert expected.items() <= child.data.metrics.items()
    losses = {(metric.step, metric.value) for metric in mlflow.get_metric_history(child.info.run_id, "train/loss")}
    assert losses == {(1, 2.5), (2, 1.5)}
    greedy = mlflow.get_metric_history(parent.info.run_id, "Summary/policy_pass_at_1")
    assert [(metric.step, metric.value) for metric in greedy] == [(0, 0.5), (1, 0.6)]
    (dataset,) = child.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("r1/sft", dvc_md5(Path("artifacts/r1/sft")))
    (version,) = mlflow.search_model_versions("name = 'rstar-policy'")
    assert version.tags["rstar.round"] == "r1" and version.tags["rstar.from.sft"].startswith("artifacts/r1/sft ")
    assert "| r1 " in version.description and "60.0 %" in version.description
    assert mlflow.get_model_version_by_alias("rstar-policy", "best").version == version.version
    assert {file.path for file in mlflow.list_artifacts(child.info.run_id, "train")} == {
        "train/train.csv",
        "train/train.json",
    }


def test_the_lock_file_says_of_each_stage_what_the_runner_said(workspace: Path) -> None:
    Path("dvc.lock").write_text(
        """
        schema: '2.0'
        stages:
          train@r1:
            cmd: exec python -m tasks train --round-id r1 --sft artifacts/r1/sft --policy artifacts/r1/policy
              --curve artifacts/r1/curves/train.csv --metrics artifacts/r1/metrics/train.json
            deps: [{path: artifacts/r1/sft}, {path: tasks/train.py}]
            params: {params.yaml: {seed: 1, rounds.r1: {guide: terminal}}}
            outs:
              - {path: artifacts/r1/policy}
              - {path: artifacts/r1/curves/train.csv}
              - {path: artifacts/r1/metrics/train.json}
          never@r2:
            cmd: exec python -m tasks never --round-id r2 --metrics artifacts/r2/metrics/never.json
            outs: [{path: artifacts/r2/metrics/never.json}]
        """
    )
    assert list(recorded_runs(Path("dvc.lock"))) == [training()]


def test_the_flow_opens_the_run_that_the_stages_fill(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = open_round("r1")
    assert run_id
    monkeypatch.setenv(MLFLOW_RUN_ID.name, run_id)
    log_stage(training())
    assert client().get_run(run_id).data.metrics["train/final_loss"] == 1.5
    close_round(run_id, "FAILED")
    assert client().get_run(run_id).info.status == "FAILED"
    assert open_round("r1") == run_id and client().get_run(run_id).info.status == "RUNNING"
    assert open_round("r2") != run_id, "whoever opened the first was killed"
    assert client().get_run(run_id).info.status == "KILLED"


def test_the_hash_of_a_file_and_of_a_folder_is_dvcs(tmp_path: Path) -> None:
    for name in ("b/z", "a b", "ä"):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*dvc, "add", "-q", "data"], cwd=tmp_path, check=True)
    assert f"md5: {dvc_md5(tmp_path / 'data')}\n" in (tmp_path / "data.dvc").read_text()


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_an_absent_server_costs_one_line_and_no_retries(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    log_stage(training())
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{uri} is not reachable" in line and "artifacts/r1/metrics/train.json" in line and "tasks track" in line


def test_the_ends_of_an_interval_have_names() -> None:
    run = StageRun("evaluate", "r1", {}, {}, {})
    found = stage_metrics(run, {"interval": {"maj@K": [0.1, 0.2]}, "list": [3, 4]})
    names = [name.removeprefix("evaluate/") for name, _, _ in found]
    assert names == ["interval/maj@K/low", "interval/maj@K/high", "list/0", "list/1"]


def test_a_list_is_one_param() -> None:
    params = {"seed": 1, "ingest": {"sources": [{"kind": "stories", "levels": [5, 6]}], "max_bad_fraction": 0.01}}
    assert dict(tracking.sections(params)) == {
        "seed": 1,
        "ingest.sources": '[{"kind": "stories", "levels": [5, 6]}]',
        "ingest.max_bad_fraction": 0.01,
    }


def test_names_are_in_mlflows_alphabet() -> None:
    assert metric_name("evaluate/policy_pass@1/level_3") == "evaluate/policy_pass_at_1/level_3"


def test_the_best_round_goes_by_system_2_where_it_was_measured() -> None:
    rows = [*ROWS, {"round_id": "r2", "policy_pass@1": {"all": 0.9}, "system@N": {"all": 0.65}}]
    assert best_round(rows) == "r1"


@pytest.mark.parametrize("number", [0, 1, 2, 199, 200, 201, 1000])
def test_a_long_curve_is_thinned_and_keeps_its_ends(tmp_path: Path, number: int) -> None:
    (tmp_path / "curve.csv").write_text("step,loss\n" + "".join(f"{step},{step}.5\n" for step in range(number)))
    points = list(curve_points(tmp_path / "curve.csv"))
    assert len(points) == number if number < 200 else 100 <= len(points) <= 200
    assert points[:1] == [("loss", 0.5, 0)][:number] and points[-1:] == [("loss", number - 0.5, number - 1)][:number]
