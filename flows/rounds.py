"""The flows: ``evolve-round`` brings one round up to date through DVC's closure, ``evolve`` all rounds in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.gate import stop_at_gate
from flows.graph import Stage, closure, plan, stale, unchanged
from flows.healing import heal
from flows.lock import workspace_lock
from flows.reproduce import UP_TO_DATE, reason, run_dvc, task_for
from flows.servers import process
from flows.times import outlook
from rstar_core.config import load_params
from rstar_core.errors import UserError
from rstar_core.io import read_json
from rstar_core.machine import variables
from rstar_core.reports.rounds import compact
from tasks.runner.tracking import catch_up, log_recorded

WARM_SOCKET = Path("run/warm.sock")  # relative: an address of a socket is short


class OfParams:
    """A deployment's schema names the rounds of params.yaml, so that Prefect refuses others at submit."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        found: dict[str, Any] = handler(schema)
        with suppress(UserError):  # a broken params.yaml is told when the flow runs
            found["enum"] = list(load_params().rounds)
        return found


RoundId = Annotated[str, OfParams()]


@flow(flow_run_name="evolve-{round_id}")
def evolve_round(round_id: RoundId, rebuild: bool = False) -> State[Any]:
    """One round, and whatever it needs that never ran.

    ``rebuild``: earlier rounds that have become stale are run again instead of stopping the flow.
    """

    def work() -> None:
        params = load_params()
        stages = closure(params.known_round(round_id), list(params.rounds))
        if not rebuild:
            stop_if_stale(stage for stage in stages if stage.round_id != round_id)
        kept = unchanged(stages)
        places = announced(stages, kept)
        with warm_copies(stages, kept) as environment:
            run_stages(round_id, stages, kept, environment, places)
            push(environment)

    return outcome(work)


@flow(flow_run_name="evolve")
def evolve() -> State[Any]:
    """All rounds of params.yaml in order; stops at a round that is not one to build on (``stop_at_gate``)."""

    def work() -> None:
        params = load_params()
        stages_of = plan(list(params.rounds))
        everything = [stage for stages in stages_of.values() for stage in stages]
        kept, last = unchanged(everything), list(params.rounds)[-1]
        places = announced(everything, kept)
        with warm_copies(everything, kept) as environment:
            for round_id, stages in stages_of.items():
                did_run = run_stages(round_id, stages, kept, environment, places)
                if did_run or round_id == last:  # where nothing ran: the remote may have been away before
                    push(environment)
                stop_at_gate(read_json(stages[-1].output("summary.json"))["rounds"], params.gate, params.rounds)

    return outcome(work)


def outcome(work: Callable[[], None]) -> State[Any]:
    """Do ``work`` alone in this workspace; what its user can mend becomes a failed state of one line."""
    try:
        with workspace_lock(flow_run.id):
            heal()
            work()
    except UserError as error:
        return Failed(message=str(error))
    return Completed()


def stop_if_stale(stages: Iterable[Stage]) -> None:
    """Running a round on earlier ones that no longer match their inputs would mix two evolutions."""
    found = stale(stages)
    if found:
        why = "; ".join(f"{name} ({', '.join(reasons)})" for name, reasons in found.items())
        raise UserError(f"earlier stages are stale: {why}. To run them again: --rebuild (parameter rebuild=true)")


@contextmanager
def warm_copies(stages: Sequence[Stage], kept: Collection[str]) -> Iterator[dict[str, str]]:
    """The environment by which the stages find a process that has loaded their libraries, while there is one."""

    if not any("-m tasks " in stage.command for stage in stages if stage.name not in kept):
        yield {}
        return
    with process("warm", ["tasks.runner.warm", str(WARM_SOCKET)], {}):
        yield {variables.WARM_SOCKET.name: str(WARM_SOCKET)}


def announced(stages: Sequence[Stage], kept: Collection[str]) -> dict[str, str]:
    """Say what is to be done; each stage's place among all."""
    get_run_logger().info(outlook(stages, kept))
    return {stage.name: f"stage {number} of {len(stages)}" for number, stage in enumerate(stages, start=1)}


def run_stages(
    round_id: str,
    stages: Sequence[Stage],
    kept: Collection[str],
    environment: Mapping[str, str],
    places: Mapping[str, str],
) -> list[Stage]:
    """Bring ``stages`` up to date in order and show the round's table; those that ran.

    ``kept`` are the names of those that DVC need not be asked about; the others run with ``environment``.
    """
    tracking = open_tracking(round_id)
    link_tracking(round_id, tracking)
    did_run: list[Stage] = []
    with closing_tracking(tracking), mirror(tracking) as log:
        log(catch_up, {stage.name for stage in stages if stage.name in kept})
        for stage in stages:
            place, is_kept = places[stage.name], stage.name in kept
            state = task_for(stage)(stage.name, {**environment, **tracking}, place, is_kept, return_state=True)
            if not state.is_completed():
                raise UserError(f"{stage.name}: {(state.message or state.name).removeprefix('error: ')}")
            if state.name != UP_TO_DATE:
                did_run.append(stage)
                log(log_recorded, stage.name)
    create_markdown_artifact(key=f"summary-{round_id}", markdown=stages[-1].output("summary.md").read_text())
    if did_run:
        show(read_json(stages[-1].output("summary.json"))["rounds"])
        put_on_store(round_id)
    return did_run


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The rounds so far, before anything can stop what comes after them."""
    for line in compact(rows).splitlines():
        get_run_logger().info(line)


@contextmanager
def mirror(environment: Mapping[str, str]) -> Iterator[Callable[..., None]]:
    """Have MLflow told what stages have left, beside the next stage: ``log(function, argument)``. At the end, all is.

    Where tracking is away, nothing is told here: the stages try for themselves.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="tracking") as worker:

        def log(work: Callable[[Any], None], argument: Any) -> None:
            if environment and argument:
                worker.submit(work, argument)

        yield log


def push(environment: Mapping[str, str]) -> None:
    """Copy all results to DVC's default remote; a remote that is away costs a warning, not the round."""
    lines: list[str] = []
    if run_dvc(["push"], environment, lines.append):
        why = (reason(lines) or "failed").removeprefix("ERROR: ")
        get_run_logger().warning("push: %s; results are safe here, and the next run or `dvc push` sends them", why)


def put_on_store(round_id: str) -> None:
    """Release the round where the environment says so; a store that is away costs a warning, not the round."""
    from tasks.commands.releases import release

    if address := variables.RELEASE.get():
        try:
            release(round_id, address)
        except UserError as error:
            again = f"python -m tasks release --round-id {round_id} --to {address}"
            get_run_logger().warning("release: %s; results are safe here, and this sends them: %s", error, again)


def open_tracking(round_id: str) -> dict[str, str]:
    """The environment by which the round's stages find its MLflow run; empty when tracking is away."""
    from tasks.runner.tracking import open_round

    run_id = open_round(round_id)
    return {variables.MLFLOW_RUN_ID.name: run_id} if run_id else {}


def link_tracking(round_id: str, environment: Mapping[str, str]) -> None:
    """A link from the flow run to the round's page in MLflow, where ``make ui`` has said which server shows it."""
    from tasks.runner.tracking import page_of

    server = variables.MLFLOW_URL.get()
    if server and variables.MLFLOW_RUN_ID.name in environment:
        link = f"{server}/{page_of(environment[variables.MLFLOW_RUN_ID.name])}"
        create_link_artifact(key=f"mlflow-{round_id}", link=link, link_text=f"{round_id} in MLflow")


@contextmanager
def closing_tracking(environment: Mapping[str, str]) -> Iterator[None]:
    """Say in MLflow how the round ended; of one that is interrupted, the next run says that it was killed."""
    from tasks.runner.tracking import close_round

    def close(status: str) -> None:
        if environment:
            close_round(environment[variables.MLFLOW_RUN_ID.name], status)

    try:
        yield
    except UserError:
        close("FAILED")
        raise
    close("FINISHED")
