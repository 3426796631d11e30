"""The flows: ``evolve-round`` brings one round up to date through DVC's closure, ``evolve`` all rounds in order.

From a terminal: ``python -m flows.evolve [--round r2]``.
"""

from __future__ import annotations

import argparse
import atexit
import fcntl
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from prefect.states import Completed, Failed

from flows.graph import Stage, closure, stale
from flows.reproduce import reason, run_dvc, task_for
from flows.servers import temporary_prefect
from flows.times import times_table
from rstar_core.config import Gate, load_params
from rstar_core.errors import UserError
from rstar_core.io import read_json
from tasks.ending import end_in_time, say_ended
from tasks.timings import FIRST_ROUND, read_timings

CONTINUE = "the same command continues where it stopped"
GATED_METRICS = ("policy_pass@", "system@")
LOCK = Path("run/evolve.lock")
MLFLOW_URL_VARIABLE = "RSTAR_MLFLOW_URL"


@flow(flow_run_name="evolve-{round_id}")
def evolve_round(round_id: str, rebuild: bool = False) -> State[Any]:
    """One round, and whatever it needs that never ran.

    ``rebuild``: earlier rounds that have become stale are run again instead of stopping the flow.
    """

    def work() -> None:
        rounds = list(load_params().rounds)
        stages = closure(known_round(round_id, rounds), rounds)
        if not rebuild:
            stop_if_stale(stage for stage in stages if stage.round_id != round_id)
        run_stages(round_id, stages)

    return outcome(work)


@flow(flow_run_name="evolve")
def evolve() -> State[Any]:
    """All rounds of params.yaml in order; stops at a round that is not one to build on (``stop_at_gate``)."""

    def work() -> None:
        params = load_params()
        done: set[Stage] = set()
        for round_id in params.rounds:
            stages = [stage for stage in closure(round_id, list(params.rounds)) if stage not in done]
            run_stages(round_id, stages)
            done.update(stages)
            stop_at_gate(read_json(stages[-1].output(".json"))["rounds"], params.gate)

    return outcome(work)


def outcome(work: Callable[[], None]) -> State[Any]:
    """Do ``work`` alone in this workspace; what its user can mend becomes a failed state of one line."""
    try:
        with workspace_lock():
            work()
    except UserError as error:
        return Failed(message=str(error))
    return Completed()


@contextmanager
def workspace_lock() -> Iterator[None]:
    """One evolution per folder: DVC allows one writer, and this says so before anything starts."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            raise UserError(f"another evolution runs in this folder (process {owner}); wait for it or end it") from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def known_round(round_id: str, rounds: Sequence[str]) -> str:
    if round_id not in rounds:
        raise UserError(f"'{round_id}' is not a round; params.yaml has: {', '.join(rounds)}")
    return round_id


def stop_if_stale(stages: Iterable[Stage]) -> None:
    """Running a round on earlier ones that no longer match their inputs would mix two evolutions."""
    found = stale(stages)
    if found:
        why = "; ".join(f"{name} ({', '.join(reasons)})" for name, reasons in found.items())
        raise UserError(f"earlier stages are stale: {why}. To run them again: --rebuild (parameter rebuild=true)")


def run_stages(round_id: str, stages: Sequence[Stage]) -> None:
    """Bring ``stages`` up to date in order, show the round's table and push what was made."""
    environment = open_tracking(round_id)
    link_tracking(round_id, environment)
    for stage in stages:
        state = task_for(stage)(stage.name, environment, return_state=True)
        if not state.is_completed():
            close_tracking(environment)
            raise UserError(f"{stage.name}: {(state.message or state.name).removeprefix('error: ')}")
    create_markdown_artifact(key=f"summary-{round_id}", markdown=stages[-1].output(".md").read_text())
    push(stages)
    put_on_store(round_id)


def push(stages: Sequence[Stage]) -> None:
    """Copy the results to DVC's default remote; a remote that is away costs a warning, not the round."""
    lines: list[str] = []
    if run_dvc(["push", *(stage.name for stage in stages)], {}, lines.append):
        why = (reason(lines) or "failed").removeprefix("ERROR: ")
        get_run_logger().warning("push: %s; results are safe here, and the next run or `dvc push` sends them", why)


def put_on_store(round_id: str) -> None:
    """Release the round where the environment says so; a store that is away costs a warning, not the round."""
    from tasks.releases import ADDRESS_VARIABLE, release

    if address := os.environ.get(ADDRESS_VARIABLE):
        try:
            release(round_id, address)
        except UserError as error:
            again = f"python -m tasks release --round-id {round_id} --to {address}"
            get_run_logger().warning("release: %s; results are safe here, and this sends them: %s", error, again)


def open_tracking(round_id: str) -> dict[str, str]:
    """The environment by which the round's stages find its MLflow run; empty when tracking is away."""
    from tasks.tracking import RUN_ID_VARIABLE, open_round

    run_id = open_round(round_id)
    return {RUN_ID_VARIABLE: run_id} if run_id else {}


def link_tracking(round_id: str, environment: Mapping[str, str]) -> None:
    """A link from the flow run to the round's page in MLflow, where ``make ui`` has said which server shows it."""
    from tasks.tracking import RUN_ID_VARIABLE, page_of

    server = os.environ.get(MLFLOW_URL_VARIABLE)
    if server and RUN_ID_VARIABLE in environment:
        link = f"{server}/{page_of(environment[RUN_ID_VARIABLE])}"
        create_link_artifact(key=f"mlflow-{round_id}", link=link, link_text=f"{round_id} in MLflow")


def close_tracking(environment: dict[str, str]) -> None:
    from tasks.tracking import RUN_ID_VARIABLE, fail_round

    if environment:
        fail_round(environment[RUN_ID_VARIABLE])


def stop_at_gate(rounds: Sequence[dict[str, Any]], gate: Gate) -> None:
    """Raises UserError when the last round is not one to build on: see ``Gate``, or nothing was found in it."""
    last = rounds[-1]
    if fault := fall(rounds, gate.max_drop) or emptiness(last) or chance(last, gate.min_ppm_margin):
        raise UserError(f"the gate of {last['round_id']} is shut: {fault}; later rounds were not started")


def fall(rounds: Sequence[dict[str, Any]], max_drop: float) -> str:
    """How the last round's greedy or System 2 accuracy fell by more than ``max_drop``; empty where it did not."""
    for before, after in pairwise(rounds[-2:]):
        for metric in (key for key in after if key.startswith(GATED_METRICS)):
            old, new = accuracy(before, metric), accuracy(after, metric)
            if old is not None and new is not None and not old - new <= max_drop:  # a NaN falls, too
                return f"{metric} fell from {old:.3f} to {new:.3f}, by more than gate.max_drop = {max_drop}"
    return ""


def emptiness(row: dict[str, Any]) -> str:
    """What the round should have found and did not."""
    counts = {"num_trajectories": "trajectories", "num_pairs": "preference pairs"}
    return next((f"it has no {name}" for key, name in counts.items() if row.get(key) == 0), "")


def chance(row: dict[str, Any], min_margin: float) -> str:
    """That the PPM ranks pairs no better than one that was trained on shuffled labels."""
    learnt, control = row.get("ppm_accuracy"), row.get("ppm_accuracy_shuffled")
    if learnt is None or control is None or learnt - control > min_margin:
        return ""
    return (
        f"the PPM ranks {learnt:.3f} of the pairs right, one of shuffled labels {control:.3f}; the difference must be "
        f"above gate.min_ppm_margin = {min_margin}"
    )


def accuracy(row: dict[str, Any], metric: str) -> float | None:
    levels: dict[str, float] | None = row.get(metric)
    return levels["all"] if levels else None


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        rounds = list(load_params().rounds)
        last = known_round(arguments.round or rounds[-1], rounds)
        with connection():
            state = run_flow(arguments)
        if state.is_failed():
            raise UserError(state.message or "the flow failed; see the log above")
        print(f"\n{report(last, rounds)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return say_ended(CONTINUE)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.evolve", description="All rounds in order, or one.")
    parser.add_argument("--round", metavar="ID", help="only this round, and what it needs that never ran")
    parser.add_argument("--rebuild", action="store_true", help="with --round: run stale earlier rounds again")
    return parser.parse_args(argv)


def run_flow(arguments: argparse.Namespace) -> State[Any]:
    if arguments.round is None:
        return evolve(return_state=True)
    return evolve_round(arguments.round, arguments.rebuild, return_state=True)


@contextmanager
def connection() -> Iterator[None]:
    """Prefect at PREFECT_API_URL, or a server of our own until this process ends.

    It must outlast the block: Prefect's threads hand in their last log lines when the interpreter shuts down.
    """
    if PREFECT_API_URL.value():
        yield
        return
    print("starting Prefect (the first start takes some 20 s)", file=sys.stderr)
    server = ExitStack()
    atexit.register(server.close)
    api = server.enter_context(temporary_prefect())
    with temporary_settings({PREFECT_API_URL: api, PREFECT_UI_URL: ""}):
        yield


def report(round_id: str, rounds: Sequence[str]) -> str:
    """The round's table, and beside it the seconds, which are no part of what DVC tracks."""
    last = closure(round_id, rounds)[-1]
    shown = [FIRST_ROUND, *rounds[: rounds.index(round_id) + 1]]
    return f"{last.output('.md').read_text().rstrip()}\n\n{times_table({name: read_timings(name) for name in shown})}"


if __name__ == "__main__":
    end_in_time(CONTINUE)
    sys.exit(main())
