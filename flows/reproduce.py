"""The one task that does anything: bring one DVC stage up to date, its log lines streamed into the task's log."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows.dvc_process import MENDABLE, Children, reason, run_dvc
from flows.graph import Stage
from rstar_core.progress import PROGRESS

UP_TO_DATE = "UpToDate"  # the state of a stage that did not run
DID_NOT_RUN = ("didn't change, skipping", "is cached - skipping run")
RETRY_DELAY_SECONDS = 3


@task(cache_policy=NO_CACHE)
def reproduce(stage: str, environment: dict[str, str], place: str, children: Children) -> State[Any]:
    """``dvc repro --single-item <stage>``: DVC alone decides whether anything runs. ``place`` is ``stage 7 of 31``."""
    lines: list[str] = []
    say = get_run_logger().info
    say(place)
    listeners = (lines.append, say, gauge(stage), kept_log(stage))
    code = run_dvc(["--wait-for-lock", "repro", "--single-item", stage], environment, _all(listeners), children)
    if code and children.is_over:
        return Cancelled(message="ended with the flow; the next run goes on where it stopped")
    if code:
        return Failed(message=reason(lines) or f"dvc ended with exit code {code}")
    if any(text in line for line in lines for text in DID_NOT_RUN):
        return Completed(name=UP_TO_DATE, message="up to date")
    return Completed()


def kept_log(stage: str) -> Callable[[str], None]:
    """Keeps lines in run/stages/<stage>.log, for who looks later. On a full disk they are in the flow's log alone."""
    path = Path("run/stages") / f"{stage}.log"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

    def keep(line: str) -> None:
        with suppress(OSError), path.open("a", encoding="utf-8") as log:
            print(line, file=log)

    return keep


@task(cache_policy=NO_CACHE)
def confirm() -> State[Any]:
    """A stage that DVC has been asked about already: it would run nothing."""
    return Completed(name=UP_TO_DATE, message="up to date")


def keep(stage: Stage) -> State[Any]:
    """The state of a stage that is up to date, which Prefect is told of."""
    state: State[Any] = confirm.with_options(task_run_name=stage.name)(return_state=True)
    return state


def task_for(stage: Stage) -> Any:
    """The task with the name and the retries of ``stage``."""
    return reproduce.with_options(
        task_run_name=stage.name,
        retries=stage.num_retries,
        retry_delay_seconds=RETRY_DELAY_SECONDS,
        retry_condition_fn=may_pass_next_time,
    )


def may_pass_next_time(task: Any, run: Any, state: State[Any]) -> bool:
    """What a user must mend fails at once."""
    return not (state.message or "").startswith(MENDABLE)


def gauge(stage: str) -> Callable[[str], None]:
    """A progress artifact of ``stage`` in Prefect, which follows the stage's own lines about its progress."""
    key = "progress-" + re.sub(r"[^a-z0-9]+", "-", stage.lower())
    made: list[Any] = []  # the artifact, once there is any

    def follow(line: str) -> None:
        if found := PROGRESS.search(line):
            share = min(100.0, 100 * int(found["done"]) / max(1, int(found["total"])))
            if made:
                update_progress_artifact(artifact_id=made[0], progress=share, description=line)
            else:
                made.append(create_progress_artifact(progress=share, key=key, description=line))

    return follow


def _all(listeners: Sequence[Callable[[str], object]]) -> Callable[[str], None]:
    def say(line: str) -> None:
        for listener in listeners:
            listener(line)

    return say
