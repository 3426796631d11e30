"""The flows: ``evolve-round`` brings one round up to date through DVC's closure, ``evolve`` all rounds in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.dvc_process import Children, push
from flows.gate import stop_at_gate
from flows.graph import Stage, closure, plan, stale, unchanged
from flows.healing import heal, settle
from flows.lock import workspace_lock
from flows.reproduce import UP_TO_DATE, keep, task_for
from flows.schedule import as_they_end, num_at_once, share_of_threads
from flows.servers import process
from flows.times import outlook
from flows.underway import Round, aside, close, failing
from rstar_core.config import load_params
from rstar_core.errors import UserError
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
        run_rounds({round_id: stages}, num_at_once(params.engine))

    return outcome(work)


@flow(flow_run_name="evolve")
def evolve() -> State[Any]:
    """All rounds of params.yaml; stops at a round that is not one to build on (``stop_at_gate``).

    The next round begins as soon as what it needs is there. Where the gate then shuts, what has begun is ended.
    """

    def work() -> None:
        params = load_params()
        stages_of = plan(list(params.rounds))
        run_rounds(stages_of, num_at_once(params.engine), lambda rows: stop_at_gate(rows, params.gate, params.rounds))

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


def run_rounds(
    stages_of: Mapping[str, Sequence[Stage]],
    at_once: int,
    judge: Callable[[list[dict[str, Any]]], object] = bool,
) -> None:
    """Bring each round's stages up to date, ``at_once`` beside each other, show its table, and have its rows judged.

    However it ends, nothing that it has started runs on.
    """
    stages = [stage for its in stages_of.values() for stage in its]
    kept = unchanged(stages)
    get_run_logger().info(outlook(stages, kept, at_once))
    rounds = [Round(round_id, its) for round_id, its in stages_of.items()]
    round_of = {stage.name: its for its in rounds for stage in its.stages}
    place = {stage.name: f"stage {number} of {len(stages)}" for number, stage in enumerate(stages, start=1)}
    children = Children()

    with warm_copies(stages, kept) as environment, failing(rounds), aside(children) as later:

        def start(stage: Stage, together: int) -> PrefectFuture[Any]:
            its = {**environment, **share_of_threads(together), **round_of[stage.name].begin(rounds)}
            future: PrefectFuture[Any] = task_for(stage).submit(stage.name, its, place[stage.name], children)
            return future

        if kept:
            later(catch_up, kept)
        waiting = [stage for stage in stages if stage.name not in kept]
        before = ((stage, keep(stage)) for stage in stages if stage.name in kept)
        for stage, state in chain(before, as_they_end(waiting, at_once, start)):
            if not state.is_completed():
                raise UserError(f"{stage.name}: {(state.message or str(state.name)).removeprefix('error: ')}")
            its, did_run = round_of[stage.name], state.name != UP_TO_DATE
            if did_run:
                later(log_recorded, stage.name)
            if its.end(stage, did_run):
                end_round(its, its is rounds[-1], later, environment)
                judge(its.output("summary.json")["rounds"])
    settle(place)


def end_round(its: Round, is_last: bool, later: Callable[..., None], environment: Mapping[str, str]) -> None:
    """Show the round's table, and put its results where they are to be kept."""
    create_markdown_artifact(key=f"summary-{its.round_id}", markdown=its.output("summary.md"))
    if its.did_run:
        show(its.output("summary.json")["rounds"])
        later(put_on_store, its.round_id)
    if its.did_run or is_last:  # where nothing ran: the remote may have been away before
        later(send, environment)
    later(close, its, "FINISHED")


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The rounds so far, before anything can stop what comes after them."""
    for line in compact(rows).splitlines():
        get_run_logger().info(line)


def send(environment: Mapping[str, str]) -> None:
    """Push; a remote that is away costs a warning, not the round. What a fault ends, it leaves at work."""
    if complaint := push(environment):
        get_run_logger().warning(complaint)


def put_on_store(round_id: str) -> None:
    """Release the round where the environment says so; a store that is away costs a warning, not the round."""
    from tasks.commands.releases import release

    if address := variables.RELEASE.get():
        try:
            release(round_id, address)
        except UserError as error:
            again = f"python -m tasks release --round-id {round_id} --to {address}"
            get_run_logger().warning("release: %s; results are safe here, and this sends them: %s", error, again)
