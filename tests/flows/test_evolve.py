"""The flows on a tiny project: real DVC, real Prefect."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.states import Completed, Running
from prefect.utilities.callables import parameter_schema

from flows.dvc_process import run_dvc
from flows.evolve import main
from flows.gate import stop_at_gate
from flows.lock import LOCK, put_right, workspace_lock
from flows.rounds import evolve, evolve_round
from rstar_core.config import Gate, Round
from rstar_core.errors import UserError
from rstar_core.machine.variables import STAGES
from tasks.runner.lock import read_lock
from tests.flows.conftest import Project

GATE = Gate(max_drop=0.05, min_ppm_margin=0.1)

WHOLE = {"num_held_out": 300, "num_system_problems": 300}
PART = {"num_held_out": 300, "num_system_problems": 100}
STRANGER = "796c9ac1-aa08-4b88-b9a7-9d1679347784"  # a flow run that no server here has heard of
ONE_ROUND = ["gather", "base", "train@r1", "report@r1"]
TWO_ROUNDS = [*ONE_ROUND, "train@r2", "report@r2"]


def task_runs(state: State[Any]) -> dict[str, str]:
    """Name -> final state of a flow run's task runs, in the order of their start. The server learns of it by and by."""
    where = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        for _ in range(100):
            runs = client.read_task_runs(flow_run_filter=where)
            if all(run.state.is_final() for run in runs):
                break
            time.sleep(0.1)
    return {run.name: run.state_name for run in sorted(runs, key=lambda run: run.start_time)}


@contextmanager
def said_by_flow(caplog: pytest.LogCaptureFixture, name: str = "prefect.flow_runs") -> Iterator[list[str]]:
    """What flow runs (or task runs) log, line by line, once the block has ended."""
    log, said = logging.getLogger(name), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    for one in (handler, caplog.handler):
        log.addHandler(one)
    try:
        yield said
    finally:
        for one in (handler, caplog.handler):
            log.removeHandler(one)


def status() -> str:
    lines: list[str] = []
    assert run_dvc(["status"], {}, lines.append) == 0
    return "\n".join(lines)


def test_a_round_runs_what_it_needs_in_order_once_and_dvc_agrees(project: Project) -> None:
    first = evolve_round("r1", return_state=True)
    assert task_runs(first) == dict.fromkeys(ONE_ROUND, "Completed")
    again = evolve_round("r1", return_state=True)
    assert task_runs(again) == dict.fromkeys(ONE_ROUND, "UpToDate")
    assert "@r1" not in status() and "gather" not in status()
    assert any((project.root / "remote").rglob("*")), "the results were pushed"


def test_a_later_round_runs_earlier_ones_that_never_ran_and_stops_at_stale_ones(project: Project) -> None:
    first = evolve_round("r2", return_state=True)
    assert list(task_runs(first)) == ["gather", "base", "train@r1", "train@r2", "report@r2"]
    (project.root / "data").write_text("2\n")
    stopped = evolve_round("r2", return_state=True)
    assert stopped.is_failed() and task_runs(stopped) == {}
    assert "data modified" in stopped.message and "rebuild" in stopped.message and "\n" not in stopped.message
    rebuilt = evolve_round("r2", rebuild=True, return_state=True)
    assert rebuilt.is_completed() and task_runs(rebuilt)["gather"] == "Completed"


def test_all_rounds_run_each_stage_once(project: Project) -> None:
    state = evolve(return_state=True)
    assert task_runs(state) == dict.fromkeys(TWO_ROUNDS, "Completed")
    assert status() == "", "DVC's line about all being up to date is left out"


def test_what_a_user_must_mend_fails_at_once_with_its_line(project: Project) -> None:
    project.script("train.sh", "echo tried >> tries; echo 'error: params.yaml: mend me' >&2; exit 2")
    state = evolve_round("r1", return_state=True)
    assert state.message == "train@r1: params.yaml: mend me"
    assert (project.root / "tries").read_text() == "tried\n"


def test_what_may_pass_next_time_is_tried_as_often_as_dvc_yaml_says(project: Project) -> None:
    project.script("train.sh", "echo tried >> tries; echo 'ValueError: a bug' >&2; exit 1")
    state = evolve_round("r1", return_state=True)
    assert state.message == "train@r1: ValueError: a bug (exit code 1)"
    assert (project.root / "tries").read_text() == "tried\n" * 3
    project.script("train.sh", "test -f second || { touch second; exit 1; }; echo $1 > out/$1/model")
    assert evolve_round("r1", return_state=True).is_completed()


def test_a_remote_that_is_away_costs_a_warning_and_the_next_run_pushes(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    remote = project.root / "remote"
    remote.write_text("a file where a folder should be: nothing can be pushed")
    with said_by_flow(caplog):
        state = evolve_round("r1", return_state=True)
    assert state.is_completed()
    # A set: whether the flow's logger hands on to the root's handlers, too, depends on what ran before.
    (said,) = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert said.startswith("push: ") and "Not a directory" in said and "\n" not in said
    assert said.endswith("results are safe here, and the next run or `dvc push` sends them")
    assert (project.root / "out/r1/model").read_text() == "r1\n", "the results are kept"
    remote.unlink()
    again = evolve_round("r1", return_state=True)
    assert task_runs(again) == dict.fromkeys(ONE_ROUND, "UpToDate")
    (project.root / "out/r1/model").unlink()
    shutil.rmtree(project.root / ".dvc/cache")
    subprocess.run([sys.executable, "-m", "dvc", "pull", "-q", "train@r1"], check=True)
    assert (project.root / "out/r1/model").read_text() == "r1\n", "the remote has them now"


def test_without_a_remote_nothing_is_pushed_and_nothing_said(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "config", "--unset", "core.remote"], check=True)
    with said_by_flow(caplog):
        assert evolve_round("r1", return_state=True).is_completed()
    assert not [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert not any((project.root / "remote").rglob("*"))


def test_a_fall_beyond_the_gate_stops_the_evolution_and_the_table_is_there(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.set_accuracy(r0=0.6, r1=0.54, r2=0.7)
    train = project.root / "train.sh"
    train.write_text(f"if test $1 = r2; then exec sleep 300; fi; {train.read_text()}")
    with said_by_flow(caplog) as said:
        state = evolve(return_state=True)
    ended = task_runs(state)
    assert ended.pop("train@r2", "Cancelled") == "Cancelled", "what may have been begun for the next round is ended"
    assert list(ended) == ONE_ROUND
    assert "gate of r1" in state.message and "0.600 to 0.540" in state.message
    assert "6 stages, 0 of them up to date" in said and not any("push" in line for line in said)
    assert any((project.root / "remote").rglob("*")), "what there is was pushed"
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in said if line.startswith("| r")]
    assert [row[:3] for row in table] == [["round", "coverage", "greedy"], ["r0", "–", "60.0 %"], ["r1", "–", "54.0 %"]]


MEET = "touch {mine}; for i in $(seq 200); do test -f {other} && break; sleep 0.1; done; test -f {other} || exit 1; "


def test_stages_that_do_not_need_each_other_run_beside_each_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """r1's report and r2's training, each of which waits until the other has begun."""
    monkeypatch.setenv(STAGES.name, "2")
    train, report = (project.root / name for name in ("train.sh", "report.sh"))
    met = MEET.format(mine="training", other="reporting")
    train.write_text(f"if test $1 = r2; then {met} fi; {train.read_text()}")
    report.write_text(MEET.format(mine="reporting", other="training") + report.read_text())
    state = evolve(return_state=True)
    assert task_runs(state) == dict.fromkeys(TWO_ROUNDS, "Completed")
    assert list(read_lock()) == TWO_ROUNDS, "in the order of the graph, whichever ended first"
    assert status() == ""


def processes(path: Path) -> list[psutil.Process]:
    """The one whose id is in the file, while it is there."""
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(int(path.read_text()))]
    return []


def test_what_runs_beside_a_stage_that_fails_is_ended(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGES.name, "2")
    train, report = (project.root / name for name in ("train.sh", "report.sh"))
    train.write_text(f"if test $1 = r2; then echo $$ > pid; exec sleep 300; fi; {train.read_text()}")
    report.write_text("while ! test -s pid; do sleep 0.1; done; echo 'error: mend me' >&2; exit 2")
    state = evolve(return_state=True)
    assert state.message == "report@r1: mend me"
    _, left = psutil.wait_procs(processes(project.root / "pid"), timeout=10)
    assert not left
    assert task_runs(state)["train@r2"] == "Cancelled"


def test_one_at_a_time_where_the_machine_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(STAGES.name, "1")
    with said_by_flow(caplog, "prefect.task_runs") as said:
        state = evolve(return_state=True)
    assert task_runs(state) == dict.fromkeys(TWO_ROUNDS, "Completed")
    assert [line for line in said if line.startswith(("stage ", "trained"))] == [
        *(f"stage {number} of 6" for number in (1, 2, 3)), "trained r1",
        *(f"stage {number} of 6" for number in (4, 5)), "trained r2", "stage 6 of 6",
    ]  # fmt: skip


def test_each_stage_says_its_place_and_leaves_a_log(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    with said_by_flow(caplog, "prefect.task_runs") as said:
        evolve_round("r1")
    assert [line for line in said if line.startswith("stage ")] == [f"stage {number} of 4" for number in (1, 2, 3, 4)]
    assert "trained r1" in said
    assert "trained r1\n" in (project.root / "run/stages/train@r1.log").read_text()


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ({"policy_pass@1": {"all": 0.60}}, {"policy_pass@1": {"all": 0.56}}, None),
        ({"policy_pass@1": {"all": 0.60}}, {"policy_pass@1": {"all": 0.54}}, "0.600 to 0.540"),
        ({"policy_pass@1": {"all": 0.60}}, {"policy_pass@1": {"all": float("nan")}}, "to nan"),
        ({"system@N": {"all": 0.60}, **WHOLE}, {"system@N": {"all": 0.54}, **WHOLE}, "system@N fell"),
        ({"system@N": {"all": 0.60}, **WHOLE}, {"system@N": {"all": 0.54}, **PART}, None),
        ({"system@N": None}, {"system@N": {"all": 0.10}}, None),
        ({"ppm_accuracy": 0.9}, {"ppm_accuracy": 0.7, "ppm_accuracy_shuffled": 0.5}, None),
        ({}, {"ppm_accuracy": 0.5, "ppm_accuracy_shuffled": 0.5}, "one of shuffled labels 0.500"),
        ({}, {"num_pairs": 0}, "no preference pairs"),
        ({}, {"num_trajectories": 0}, "no trajectories"),
    ],
)
def test_the_gate_lets_nobody_build_on_a_bad_round(
    before: dict[str, Any], after: dict[str, Any], fault: str | None
) -> None:
    rows = [{"round_id": "r1", **before}, {"round_id": "r2", **after}]
    with pytest.raises(UserError, match=f"gate of r2 is shut: .*{fault}") if fault else nullcontext():
        stop_at_gate(rows, GATE, {})


@pytest.mark.parametrize(("guide", "is_shut"), [("ppm", True), ("terminal", False)])
def test_a_ppm_at_chance_counts_where_it_is_to_guide(guide: str, is_shut: bool) -> None:
    rows = [{"round_id": "r1", "ppm_accuracy": 0.57, "ppm_accuracy_shuffled": 0.63}]
    budget: dict[str, Any] = {
        "has_ppm": True,
        "num_system_problems": 0,
        "num_candidates": 1,
        "num_rollouts": 1,
        "extra_rollouts": 0,
        "mixed_rollouts": 0,
        "num_trees": 1,
    }
    rounds = {"r2": Round.model_validate({"from": "r1", "guide": guide, **budget})}
    with pytest.raises(UserError, match=r"gate of r1 is shut: .*0\.630") if is_shut else nullcontext():
        stop_at_gate(rows, GATE, rounds)


def test_an_unknown_round_names_the_known_ones(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--round", "r9"]) == 2
    assert capsys.readouterr().err == "error: 'r9' is not a round; params.yaml has: r1, r2\n"


def test_where_nothing_is_left_to_run_prefect_is_not_asked(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evolve()
    (project.root / "remote").rename(project.root / "lost")
    monkeypatch.setattr("flows.evolve.run_flow", lambda arguments: pytest.fail("there is nothing to run"))
    capsys.readouterr()
    assert main([]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == "6 stages, all of them up to date" and "| table |" in said.out
    assert any((project.root / "remote").rglob("*")), "what the remote lacked was pushed"


@pytest.mark.parametrize("left", ["a torn lock", "a killed flow run"])
def test_what_a_kill_has_left_is_no_hindrance(project: Project, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    evolve()
    monkeypatch.setattr("flows.lock.end_dead", lambda flow_run_id: pytest.fail("Prefect is not there"))
    text = Path("dvc.lock").read_text()
    if left == "a torn lock":
        Path("dvc.lock").write_text(text[: text.index("  report@r2") + 20])
        monkeypatch.setattr("flows.evolve.connection", nullcontext)
        monkeypatch.setattr("flows.evolve.run_flow", lambda arguments: Completed())
    else:
        LOCK.write_text(json.dumps({"pid": 1, "flow_run_id": STRANGER}))
    assert main([]) == 0
    assert (text in Path("dvc.lock").read_text()) is (left != "a torn lock")


def test_where_nothing_is_left_to_run_the_gates_are_asked_all_the_same(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evolve()
    asked: list[str] = []
    monkeypatch.setattr("flows.evolve.stop_at_gate", lambda rows, gate, rounds: asked.append(rows[-1]["round_id"]))
    assert main(["--round", "r2"]) == 0 and asked == [], "who wants one round gets it"
    assert main([]) == 0 and asked == ["r1", "r2"]


def test_a_dry_run_says_what_would_run_and_runs_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [["gather", "to", "run"], ["base", "to", "run"]]
    assert lines[-1] == "6 stages, 0 of them up to date"
    assert not (project.root / "data").exists()


def test_a_second_evolution_in_the_same_folder_is_refused(project: Project) -> None:
    with workspace_lock():
        state = evolve_round("r1", return_state=True)
    assert "another evolution runs in this folder" in state.message


def test_a_killed_flow_run_is_put_right_by_the_next(project: Project) -> None:
    """The lock's file names the run of a process that is gone; Prefect believes that it still runs."""
    with get_client(sync_client=True) as client:
        dead = client.create_flow_run(evolve, state=Running())
        LOCK.parent.mkdir(exist_ok=True)
        LOCK.write_text(json.dumps({"pid": 1, "flow_run_id": str(dead.id)}))
        assert evolve_round("r1", return_state=True).is_completed()
        state = client.read_flow_run(dead.id).state
    assert state.is_crashed() and "killed" in state.message
    assert LOCK.read_text() == "{}", "this one has ended properly"


@pytest.mark.parametrize("left", ["", "12345", "{broken", json.dumps({"flow_run_id": STRANGER})])
def test_a_lock_of_any_age_is_taken(project: Project, left: str) -> None:
    LOCK.parent.mkdir(exist_ok=True)
    LOCK.write_text(left)
    put_right()
    with workspace_lock():
        pass


def test_progress_becomes_an_artifact_that_follows(project: Project) -> None:
    project.script(
        "train.sh",
        "echo 'train r1: 30/120 (25 %), 3.0 rows/s, ETA 30 s'; echo 'train r1: 120/120 (100 %), 3.0 rows/s, took 40 s';"
        "echo $1 > out/$1/model",
    )
    evolve_round("r1", return_state=True)
    with get_client(sync_client=True) as client:
        named = ArtifactFilter(key=ArtifactFilterKey(any_=["progress-train-r1"]))
        (found,) = client.read_artifacts(artifact_filter=named)
    assert (found.type, found.data, found.description) == (
        "progress",
        100.0,
        "train r1: 120/120 (100 %), 3.0 rows/s, took 40 s",
    )


def test_a_deployment_knows_the_rounds(project: Project) -> None:
    schema = parameter_schema(evolve_round)
    assert schema.properties["round_id"]["enum"] == ["r1", "r2"]
    (project.root / "params.yaml").write_text("rounds: ")
    assert "enum" not in parameter_schema(evolve_round).properties["round_id"]


def test_a_broken_params_file_is_one_line(project: Project) -> None:
    project.change_round("r1", num_wishes=3)
    state = evolve_round("r1", return_state=True)
    assert state.message == "params.yaml: rounds.r1.num_wishes: unknown key; remove it or correct its name"
