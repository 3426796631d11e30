"""``python -m flows.evolve``: all rounds in order; ``--round r2``: one. Starts Prefect where none is named."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import inf
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from flows.gate import stop_at_gate
from rstar_core.config import Params, load_params
from rstar_core.errors import UserError
from rstar_core.io import read_json
from rstar_core.machine import variables
from tasks.runner.lock import LOCK
from tasks.runner.profiles import use
from tasks.runner.signals import end_in_time, say_ended
from tasks.runner.timings import FIRST_ROUND, read_timings
from tasks.runner.tracking import prepare

if TYPE_CHECKING:
    from flows.graph import Stage

CONTINUE = "the same command continues where it stopped"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        variables.check()
        if arguments.profile:
            print(f"params.yaml is now {use(arguments.profile)}")
        params = load_params()
        rounds = list(params.rounds)
        last = params.known_round(arguments.round or rounds[-1])
        if arguments.dry_run:
            print(dry_run(arguments.round, params))
            return 0
        if not nothing_is_left(arguments.round, params):
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
    parser.add_argument("--profile", metavar="NAME", help="first make params.yaml this one of infra/profiles/")
    parser.add_argument("--dry-run", action="store_true", help="say which stages would run, and run none")
    parser.add_argument("--round", metavar="ID", help="only this round, and what it needs that never ran")
    parser.add_argument("--rebuild", action="store_true", help="with --round: run stale earlier rounds again")
    return parser.parse_args(argv)


def nothing_is_left(round_id: str | None, params: Params) -> bool:
    """Whether every stage is up to date. Whoever has a Prefect server wants to see the run there, whatever it does.

    Raises:
        UserError: all rounds were asked for, and the gate of one is shut.
    """
    if os.environ.get("PREFECT_API_URL") or not LOCK.exists():
        return False
    from flows.finished import is_finished

    if not is_finished(lambda: all_of(stages_by_round(round_id, params))):
        return False
    for its in () if round_id else stages_by_round(None, params).values():
        stop_at_gate(read_json(its[-1].output("summary.json"))["rounds"], params.gate, params.rounds)
    return True


def stages_by_round(round_id: str | None, params: Params) -> dict[str, list[Stage]]:
    """What the round needs, as its own; or the stages of all rounds."""
    from flows.graph import closure, plan

    rounds = list(params.rounds)
    return {round_id: closure(round_id, rounds)} if round_id else plan(rounds)


def all_of(stages_of: Mapping[str, Sequence[Stage]]) -> list[Stage]:
    return [stage for its in stages_of.values() for stage in its]


def run_flow(arguments: argparse.Namespace) -> Any:
    """The final state of the flow that the arguments ask for."""
    from flows.bars import bars
    from flows.rounds import evolve, evolve_round

    with bars():
        if arguments.round is None:
            return evolve(return_state=True)
        return evolve_round(arguments.round, arguments.rebuild, return_state=True)


@contextmanager
def connection() -> Iterator[None]:
    """Prefect at PREFECT_API_URL, or a server of our own until this process ends.

    It must outlast the block: Prefect's threads hand in their last log lines when the interpreter shuts down. Prefect's
    settings, which may name a server too, take seconds to load: meanwhile ours starts.
    """
    from flows.servers import temporary_prefect

    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    print("starting Prefect (the first start takes some 20 s)", file=sys.stderr)
    server = ExitStack()
    atexit.register(server.close)
    api, auth = server.enter_context(temporary_prefect(load_libraries))
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

    if PREFECT_API_URL.value():
        server.close()
        yield
        return
    with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: auth, PREFECT_UI_URL: ""}):
        yield


def load_libraries() -> None:
    """Those of the flow, which take as long as its server does to start."""
    import flows.rounds  # noqa: F401

    prepare()


def dry_run(round_id: str | None, params: Params) -> str:
    """The stages that the round needs, or all rounds, and which of them would run."""
    from flows.graph import unchanged
    from flows.schedule import num_at_once
    from flows.times import outlook_by_stage

    stages = all_of(stages_by_round(round_id, params))
    return outlook_by_stage(stages, unchanged(stages), num_at_once(params.engine))


def report(round_id: str, rounds: Sequence[str]) -> str:
    """The round's tables, and beside them the seconds, which are no part of what DVC tracks."""
    from flows.graph import closure
    from flows.times import times_table
    from rstar_core.reports.markdown import aligned, fitted
    from rstar_core.reports.rounds import num_solved

    last = closure(round_id, rounds)[-1]
    shown = [FIRST_ROUND, *rounds[: rounds.index(round_id) + 1]]
    solved = {row["round_id"]: num_solved(row) for row in read_json(last.output("summary.json"))["rounds"]}
    times = aligned(times_table({name: read_timings(name) for name in shown}, solved))
    width = get_terminal_size().columns if sys.stdout.isatty() else inf
    return fitted(f"{last.output('summary.md').read_text().rstrip()}\n\n{times}", width)


if __name__ == "__main__":
    end_in_time(CONTINUE)
    sys.exit(main())
