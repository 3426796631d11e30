"""What a flow does around the stages of its rounds: each round's run in MLflow is opened, filled and closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from prefect.artifacts import create_link_artifact

from flows.dvc_process import Children
from flows.graph import Stage
from rstar_core.errors import UserError
from rstar_core.io import read_json
from rstar_core.machine import variables
from tasks.runner.tracking import close_round, open_round, page_of


class Round:
    """A round of the flow run, until the last of its stages has ended. ``run_id`` is MLflow's, null before the first of
    them begins, and where tracking is away.
    """

    def __init__(self, round_id: str, stages: Sequence[Stage]) -> None:
        self.round_id = round_id
        self.stages = stages
        self.run_id: str | None = None
        self.did_run = False
        self._has_begun = False
        self._waiting = {stage.name for stage in stages}

    def begin(self, others: Iterable[Round]) -> dict[str, str]:
        """The environment by which a stage finds the round's run; ``others`` may have theirs."""
        if not self._has_begun:
            self._has_begun = True
            self.run_id = open_round(self.round_id, [one.run_id for one in others if one.run_id])
            self._link()
        return {variables.MLFLOW_RUN_ID.name: self.run_id} if self.run_id else {}

    def end(self, stage: Stage, did_run: bool) -> bool:
        """Whether ``stage`` was the last."""
        self.did_run |= did_run
        self._waiting.discard(stage.name)
        return not self._waiting

    def output(self, name: str) -> Any:
        """The content of a file of its last stage, JSON or text."""
        path = self.stages[-1].output(name)
        return read_json(path) if path.suffix == ".json" else path.read_text(encoding="utf-8")

    def _link(self) -> None:
        """From the flow run to the round's page in MLflow, where ``make ui`` has said which server shows it."""
        server = variables.MLFLOW_URL.get()
        if server and self.run_id:
            link = f"{server}/{page_of(self.run_id)}"
            create_link_artifact(key=f"mlflow-{self.round_id}", link=link, link_text=f"{self.round_id} in MLflow")


def close(its: Round, status: str) -> None:
    """Say in MLflow how the round has ended."""
    if its.run_id:
        close_round(its.run_id, status)
        its.run_id = None


@contextmanager
def failing(rounds: Sequence[Round]) -> Iterator[None]:
    """Of rounds that are open when the flow fails, MLflow says so; of those that a flow is interrupted in, the next
    flow says that they were killed.
    """
    try:
        yield
    except UserError:
        for its in rounds:
            close(its, "FAILED")
        raise


@contextmanager
def aside(children: Children) -> Iterator[Callable[..., None]]:
    """``later(work, *arguments)``, in order, beside what the flow does; when the context ends, it is done.

    Where it ends by an exception, ``children`` are ended first.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="aside") as worker:

        def later(work: Callable[..., object], *arguments: Any) -> None:
            worker.submit(copy_context().run, work, *arguments)

        try:
            yield later
        except BaseException:
            children.end()
            raise
