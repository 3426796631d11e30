"""MLflow as a mirror of the metrics files: one parent run per evolution, one child run per round.

Every stage logs here when it has finished, wherever it ran from, and ``python -m tasks track`` logs them all again
from the files: the same code, the same result. Nothing here can fail a stage. The only importer of mlflow.
"""

from __future__ import annotations

import csv
import getpass
import hashlib
import json
import logging
import math
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, wraps
from math import ceil
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from rstar_core.config import load_params
from rstar_core.errors import UserError
from rstar_core.io import read_json
from rstar_core.journal.key import plain
from rstar_core.machine.variables import EXPERIMENT, MLFLOW_RUN_ID
from rstar_core.reports.rounds import compact
from tasks.runner.lock import dvc_md5, read_lock
from tasks.runner.profiles import current
from tasks.runner.timings import FIRST_ROUND, read_timings

Given = ParamSpec("Given")
Result = TypeVar("Result")
_telling = threading.Lock()

MODELS = {"policy": "rstar-policy", "ppm": "rstar-ppm"}  # output flag -> registered model
SHOWN = {".md", ".png", ".json", ".html", ".csv"}
MAX_POINTS = 200  # of a curve
VIEW = "rounds"  # the name of our link to the runs
COLUMNS = ("coverage", "policy_pass@1", "system@n", "pass@n", "ppm_accuracy", "num_pairs")
NOTE = "mlflow.note.content"  # what MLflow shows as a description
SUMMARY, ROUNDS_OWN = "Summary", "Round"  # capitals: MLflow's pages begin with what is first in the alphabet
ENDS_OF_INTERVAL = re.compile(r"^(interval/.+)/([01])$")
EVOLUTION, ROUND, DIGEST, LEVEL = "rstar.evolution", "rstar.round", "rstar.md5", "rstar.sandbox"
_QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True, slots=True)
class StageRun:
    """A stage that has run. ``inputs`` and ``outputs`` map its path flags; ``outputs["metrics"]`` is always there."""

    stage: str
    round_id: str
    inputs: dict[str, Path]
    outputs: dict[str, Path]
    params: dict[str, Any]  # by dotted key of params.yaml


def one_at_a_time(work: Callable[Given, Result]) -> Callable[Given, Result]:
    """A flow tells MLflow things from two threads; both would make what they do not find."""

    @wraps(work)
    def done(*args: Given.args, **more: Given.kwargs) -> Result:
        with _telling:
            return work(*args, **more)

    return done


def log_stage(run: StageRun) -> None:
    """Log one stage into its round's run; when that can't be done, say so in one line."""
    try:
        Tracker(_evolution()).log(run)
    except Exception as error:  # tracking is a mirror: whatever breaks there, the stage has succeeded
        later = "later: python -m tasks track"
        print(f"tracking: {_one_line(error)}; metrics are in {run.outputs['metrics']}; {later}", file=sys.stderr)


def is_logged_by_a_flow() -> bool:
    """Whether this stage was started by a flow that has opened its round's run, and will log it (``log_recorded``).

    To load MLflow takes longer than many a stage, and a flow has loaded it already.
    """
    return bool(MLFLOW_RUN_ID.get())


@one_at_a_time
def log_recorded(name: str) -> None:
    """Log the stage that has just run, by its address in dvc.lock."""
    try:
        runs = list(recorded_runs(Path("dvc.lock"), {name}))
    except Exception as error:  # as above
        print(f"tracking: {name}: {_one_line(error)}; later: python -m tasks track", file=sys.stderr)
        return
    for run in runs:
        log_stage(run)


@one_at_a_time
def catch_up(names: Collection[str]) -> None:
    """Log those of the stages whose metrics MLflow does not hold: a flow may have been killed between the two."""
    try:
        tracker = Tracker(_evolution())
        behind = [run for run in recorded_runs(Path("dvc.lock"), names) if tracker.difference(run)]
    except Exception as error:  # as above
        print(f"tracking: {_one_line(error)}; later: python -m tasks track", file=sys.stderr)
        return
    for run in behind:
        log_stage(run)


@one_at_a_time
def open_round(round_id: str, opened: Collection[str] = ()) -> str | None:
    """The id of the round's MLflow run, marked as running; None (and one line) when tracking is away.

    It is for a flow that is alone in its folder: what else of its evolution is said to run, and is none of the runs
    that it has ``opened``, was killed.
    """
    try:
        tracker = Tracker(_evolution())
        run_id = tracker.run_of(round_id)
        tracker.end_dead(opened)
        tracker.client.update_run(run_id, status="RUNNING")
    except Exception as error:  # as above
        print(f"tracking: {_one_line(error)}; the round runs without it", file=sys.stderr)
        return None
    return run_id


def page_of(run_id: str) -> str:
    """Where the run is in MLflow's pages."""
    return f"#/experiments/{_client().get_run(run_id).info.experiment_id}/runs/{run_id}"


def page_of_runs() -> str:
    """Where the experiment's runs are in MLflow's pages, with the columns that tell rounds apart.

    An experiment by itself opens on a page about traces. What a shared link shows is a tag of the experiment.
    """
    client = _client()
    experiment_id = _experiment_id(client)
    columns = [f"metrics.`{SUMMARY}/{metric_name(name)}`" for name in COLUMNS]
    view = {"selectedColumns": columns, "orderByKey": "attributes.start_time", "orderByAsc": True}
    client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


@one_at_a_time
def close_round(run_id: str, status: str) -> None:
    """Mark the round's MLflow run as ``FINISHED`` or ``FAILED``, if tracking can be reached."""
    try:
        _client().set_terminated(run_id, status=status)
    except Exception as error:  # as above
        print(f"tracking: {_one_line(error)}", file=sys.stderr)


def rebuild() -> None:
    """Log every stage of dvc.lock.

    Raises:
        UserError: nothing has run yet, or tracking can't be reached.
    """
    runs = list(recorded_runs(Path("dvc.lock")))
    tracker = Tracker(_evolution())
    for run in runs:
        tracker.log(run)
    print(f"tracking: {len(runs)} stages logged to {tracking_uri()}")


def compare() -> Iterator[str]:
    """A line for each stage of dvc.lock, empty where MLflow holds what its metrics file holds.

    Where tracking can't be reached, that is the one line.
    """
    try:
        tracker = Tracker(_evolution())
        for run in recorded_runs(Path("dvc.lock")):
            yield tracker.difference(run)
    except Exception as error:  # whatever breaks there, it is a fault of the mirror
        yield f"tracking: {_one_line(error)}; run: python -m tasks check --repair-tracking"


def recorded_runs(lock: Path, names: Collection[str] | None = None) -> Iterator[StageRun]:
    """The stages that dvc.lock knows and whose metrics files are here, in the order of their first run.

    ``names`` are DVC's addresses of those that are wanted (``verify@r2``); without them, all are.
    """
    if not lock.exists():
        raise UserError(f"{lock}: not found; run a round first")
    for name, entry in read_lock(lock).items():
        words = shlex.split(entry["cmd"])
        if words[2:4] != ["-m", "tasks"] or (names is not None and name not in names):
            continue
        flags = dict(zip(words[5::2], words[6::2], strict=True))
        round_id = flags.pop("--round-id", FIRST_ROUND)
        paths = {flag[2:].replace("-", "_"): Path(path) for flag, path in flags.items()}
        made = {Path(out["path"]) for out in entry["outs"]}
        if paths["metrics"].exists():
            inputs = {name: path for name, path in paths.items() if path not in made}
            outputs = {name: path for name, path in paths.items() if path in made}
            params = {key: value for file in entry.get("params", {}).values() for key, value in file.items()}
            yield StageRun(words[4], round_id, inputs, outputs, params)


class Tracker:
    """One evolution's runs in MLflow. Connects on construction.

    Raises:
        UserError: the tracking server can't be reached.
    """

    def __init__(self, evolution: str) -> None:
        self.client = _client()
        self.evolution = evolution
        self.experiment_id = _experiment_id(self.client)

    @cached_property
    def parent(self) -> str:
        return self._find_or_create("all", evolution_name(), {})

    def run_of(self, round_id: str) -> str:
        """The round's run: the one that the flow opened, or found by its tags, or new."""
        given = MLFLOW_RUN_ID.get()
        if given and self.client.get_run(given).data.tags.get(ROUND) == round_id:
            return given
        return self._find_or_create(round_id, round_id, {"mlflow.parentRunId": self.parent})

    def end_dead(self, alive: Collection[str]) -> None:
        """Mark this evolution's runs that are said to run, and are not ``alive``, as killed."""
        query = f"tags.`{EVOLUTION}` = '{self.evolution}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.experiment_id], query):
            if run.data.tags.get(ROUND) != "all" and run.info.run_id not in alive:
                self.client.set_terminated(run.info.run_id, status="KILLED")

    def _find_or_create(self, round_id: str, name: str, tags: dict[str, str]) -> str:
        identity = {EVOLUTION: self.evolution, ROUND: round_id}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
        found = self.client.search_runs([self.experiment_id], query, max_results=1)
        run = (
            found[0]
            if found
            else self.client.create_run(self.experiment_id, tags={**identity, **tags, **origin()}, run_name=name)
        )
        return str(run.info.run_id)

    def log(self, run: StageRun) -> None:
        """Everything about one stage; logging it twice leaves what logging it once leaves."""
        run_id = self.run_of(run.round_id)
        metrics = read_json(run.outputs["metrics"])
        rows = metrics.pop("rounds", None)
        at = int(run.outputs["metrics"].stat().st_mtime * 1000)
        self._log_params(run_id, run.params)
        self._log_metrics(run_id, stage_metrics(run, metrics), at)
        self._log_level(run_id, run.round_id)
        self._log_inputs(run_id, run)
        self._log_artifacts(run_id, run.stage, run.outputs.values())
        for flag in MODELS.keys() & run.outputs.keys():
            self._register(run_id, flag, run)
        if rows is not None:
            self._log_summary(run_id, rows, run, at)

    def difference(self, run: StageRun) -> str:
        """Which of a stage's metrics its round's run holds otherwise than the file; empty where none."""
        values = read_json(run.outputs["metrics"])
        values.pop("rounds", None)
        held = self._held(run.round_id)
        metrics = [one for one in stage_metrics(run, values) if one[2] == 0 and not one[0].startswith("time/")]
        wrong = [name for name, value, _ in metrics if not _is_held(held.get(metric_name(name)), value)]
        if not wrong:
            return ""
        what = f"{run.outputs['metrics']}: MLflow lacks or contradicts {len(wrong)} of {len(metrics)} metrics"
        return f"{what}, {wrong[0]} among them; run: python -m tasks check --repair-tracking"

    def _held(self, round_id: str) -> dict[str, float]:
        query = f"tags.`{EVOLUTION}` = '{self.evolution}' and tags.`{ROUND}` = '{round_id}'"
        found = self.client.search_runs([self.experiment_id], query, max_results=1)
        return dict(found[0].data.metrics) if found else {}

    def _log_params(self, run_id: str, params: dict[str, Any]) -> None:
        """A round's params are written once: MLflow refuses to change a value, and the id of an evolution is theirs."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        values = {re.sub(r"^rounds\.\w+", ROUNDS_OWN, key): value for key, value in sections(params)}
        new = [Param(key, str(value)) for key, value in values.items() if key not in known]
        for start in range(0, len(new), 100):
            self.client.log_batch(run_id, params=new[start : start + 100])

    def _log_metrics(self, run_id: str, values: Iterable[tuple[str, float, int]], at: int) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(metric_name(name), value, at, step) for name, value, step in values]
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(run_id, metrics=metrics[start : start + 1000])

    def _log_level(self, run_id: str, round_id: str) -> None:
        """The isolation that the round's code ran under; more than one where its stages ran on different machines."""
        levels = sorted({stage["sandbox"] for stage in read_timings(round_id).values() if stage.get("sandbox")})
        if levels:
            self.client.set_tag(run_id, LEVEL, ", ".join(levels))

    def _log_inputs(self, run_id: str, run: StageRun) -> None:
        """Parquet inputs by name and DVC hash; no row is read."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag("mlflow.data.context", run.stage)]
        datasets = [
            DatasetInput(Dataset(dataset_name(path), dvc_md5(path), "local", json.dumps({"uri": str(path)})), tags)
            for path in run.inputs.values()
            if any(path.glob("*.parquet")) or path.suffix == ".parquet"
        ]
        if datasets:
            self.client.log_inputs(run_id, datasets)

    def _log_artifacts(self, run_id: str, folder: str, paths: Iterable[Path]) -> None:
        """Files that a person reads; of a folder, its cards, reports, samples and pages."""
        for path in paths:
            its = [one for pattern in ("*.md", "*.html") for one in sorted(path.glob(pattern))]
            for file in [path] if path.suffix in SHOWN else its:
                self.client.log_artifact(run_id, str(file), folder)

    def _register(self, run_id: str, flag: str, run: StageRun) -> None:
        """A model version: where the weights are, what they hash to, what they were made from. DVC holds them."""
        name, path = MODELS[flag], run.outputs[flag]
        digest = dvc_md5(path)
        if any(version.tags.get(DIGEST) == digest for version in self._versions(name, run_id)):
            return
        reference = {"path": str(path), "md5": digest, "round": run.round_id, "evolution": self.evolution}
        self.client.log_dict(run_id, reference, f"{flag}/reference.json")
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        made_from = {f"rstar.from.{name}": f"{path} {dvc_md5(path)}" for name, path in run.inputs.items()}
        tags = {EVOLUTION: self.evolution, ROUND: run.round_id, DIGEST: digest, **made_from}
        self.client.create_model_version(name, f"runs:/{run_id}/{flag}", run_id, tags, await_creation_for=0)

    def _versions(self, name: str, run_id: str) -> list[Any]:
        """A run's versions of a model, newest first."""
        found = self.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        return sorted(found, key=lambda version: int(version.version), reverse=True)

    def _log_summary(self, run_id: str, rows: Sequence[dict[str, Any]], run: StageRun, at: int) -> None:
        """The round's figures under names that all rounds share, curves over rounds on the parent, and the best."""
        own = next(row for row in rows if row["round_id"] == run.round_id)
        parent = self.parent
        self._log_metrics(run_id, summary_metrics(own, step=0), at)
        curves = [metric for step, row in enumerate(rows) for metric in summary_metrics(row, step)]
        self._log_metrics(parent, curves, at)
        self._log_artifacts(parent, run.stage, (path for path in run.outputs.values() if not path.is_dir()))
        self._describe(run_id, own, run.outputs["table"].read_text(encoding="utf-8"))
        self._mark_best(best_round(rows))
        for done in (run_id, parent):
            self.client.set_terminated(done, status="FINISHED")

    def _describe(self, run_id: str, own: dict[str, Any], table: str) -> None:
        """The table of rounds as the description of the round's run and of the evolution's; its line on each model."""
        for run in (run_id, self.parent):
            self.client.set_tag(run, NOTE, table)
        for name in MODELS.values():
            for version in self._versions(name, run_id)[:1]:
                self.client.update_model_version(name, version.version, compact([own]))

    def _mark_best(self, round_id: str) -> None:
        run_id = self.run_of(round_id)
        for name in MODELS.values():
            for version in self._versions(name, run_id)[:1]:
                self.client.set_registered_model_alias(name, "best", version.version)


def evolution_name() -> str:
    """``default · seed 20260``: the profile that params.yaml is, and its seed."""
    return f"{current() or 'own params'} · seed {load_params().seed}"


def origin() -> dict[str, str]:
    """Who ran which commit: MLflow has columns for it."""
    shown = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    commit = {"mlflow.source.git.commit": shown.stdout.strip()} if shown.returncode == 0 else {}
    who = {"mlflow.user": getpass.getuser(), "mlflow.source.name": "rstar evolve", "mlflow.source.type": "LOCAL"}
    return {**who, **commit}


def sections(params: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of nested sections; a list is one value, as JSON."""
    for key, value in params.items():
        its = plain(value)
        if isinstance(its, dict):
            yield from sections(its, f"{before}{key}.")
        else:
            yield f"{before}{key}", json.dumps(its) if isinstance(its, list) else its


def stage_metrics(run: StageRun, metrics: dict[str, Any]) -> Iterator[tuple[str, float, int]]:
    """(name, value, step) of a stage's metrics, its training curve, and its seconds and rates.

    A metric that is also a column of the curve is left to the curve.
    """
    curve = list(curve_points(run.outputs["curve"])) if "curve" in run.outputs else []
    drawn = {name for name, _, _ in curve}
    named = ((ENDS_OF_INTERVAL.sub(_end_of_interval, name), value) for name, value in leaves(metrics, "/"))
    scalars = [(name, value, 0) for name, value in named if name not in drawn]
    for name, value, step in [*scalars, *curve]:
        if _is_number(value):
            yield f"{run.stage}/{name}", value, step
    for name, value in leaves(read_timings(run.round_id).get(run.stage, {}), "/"):
        if _is_number(value):
            yield f"time/{run.stage}/{name}", value, 0


def _end_of_interval(found: re.Match[str]) -> str:
    return f"{found[1]}/{'high' if int(found[2]) else 'low'}"


def curve_points(path: Path) -> Iterator[tuple[str, float, int]]:
    """(column, value, step) of a CSV file with a column ``step``; empty cells are left out.

    Of a long curve every n-th row and the last, ``MAX_POINTS`` at most: a store of many runs is to stay quick.
    """
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    every = max(1, ceil(len(rows) / (MAX_POINTS - 1)))
    for row in [*rows[: len(rows) - 1 : every], *rows[-1:]]:
        step = int(float(row.pop("step")))
        yield from ((name, float(value), step) for name, value in row.items() if value)


def summary_metrics(row: dict[str, Any], step: int) -> Iterator[tuple[str, float, int]]:
    """One row of the table of rounds: ``Summary/policy_pass@1`` and, by level, ``Summary/policy_pass@1/level_3``."""
    for name, value in leaves(row, "/"):
        if _is_number(value):
            yield f"{SUMMARY}/{name.removesuffix('/all').lower()}", value, step


def best_round(rows: Sequence[dict[str, Any]]) -> str:
    """The round of the best accuracy on all held-out problems: System 2's where it was measured on all, else greedy.

    The first of equals.
    """

    def score(row: dict[str, Any]) -> float:
        is_whole = row.get("num_system_problems") == row.get("num_held_out")
        system = row.get("system@N") if is_whole else None
        return float((system or row["policy_pass@1"])["all"])

    return str(max(rows, key=score)["round_id"])


def leaves(value: Any, separator: str, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dicts, lists and config sections as (name, value) pairs."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, separator, f"{name}{separator}{key}" if name else str(key))
    else:
        yield name, value


def metric_name(name: str) -> str:
    """``name`` in the characters that MLflow takes; ``pass@1`` becomes ``pass_at_1``."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def dataset_name(path: Path) -> str:
    """``r1/sft`` for artifacts/r1/sft."""
    return "/".join(path.with_suffix("").parts[-2:])


def prepare() -> None:
    """Load MLflow and make its store, which takes some seconds: whoever has them to spare spends them here.

    Where it is away, whoever needs it says so.
    """
    with suppress(Exception):
        _client()


def tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


def _client() -> Any:
    """An MLflow client, after a look whether anyone answers there (MLflow itself takes minutes to give up)."""
    uri = tracking_uri()
    _check_reachable(uri)
    for name, value in {**_QUIET, "MLFLOW_TRACKING_URI": uri}.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _check_reachable(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=3).close()
    except OSError:
        raise UserError(f"{uri} is not reachable") from None


def _experiment_id(client: Any) -> str:
    name = EXPERIMENT.get()
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    is_local = tracking_uri().startswith("sqlite:")
    return str(client.create_experiment(name, Path("mlruns").resolve().as_uri() if is_local else None))


def _evolution() -> str:
    """The evolution's id: a short hash of what params.yaml says, however it is written."""
    canonical = json.dumps(load_params().model_dump(mode="json", by_alias=True), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def _is_held(found: float | None, value: float) -> bool:
    return found is not None and math.isclose(found, value, rel_tol=1e-9)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
