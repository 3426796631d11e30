"""Who evolves in this folder: one flow run at a time, and a dead one's state is put right by the next."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rstar_core.errors import UserError

LOCK = Path("run/evolve.lock")  # while it is held: the process and the flow run that hold it


@contextmanager
def alone() -> Iterator[None]:
    """As ``workspace_lock``, for who starts no flow run and knows no Prefect: what a dead one has left stays.

    Raises:
        UserError: an evolution runs here.
    """
    with _locked():
        yield


@contextmanager
def workspace_lock(flow_run_id: str | None = None) -> Iterator[None]:
    """One evolution per folder: DVC allows one writer, and this says so before anything starts.

    An earlier flow run whose process was killed is told to Prefect as crashed: nobody else would.

    Raises:
        UserError: another evolution runs here.
    """
    with _locked() as handle:
        end_dead(_read(handle).get("flow_run_id"))
        _write(handle, {"pid": os.getpid(), "flow_run_id": flow_run_id})
        yield
        _write(handle, {})


def put_right() -> None:
    """As ``workspace_lock`` does for a dead flow run; where an evolution runs, its state is right."""
    with suppress(UserError), _locked() as handle:
        end_dead(_read(handle).get("flow_run_id"))
        _write(handle, {})


def end_dead(flow_run_id: str | None) -> None:
    """Have Prefect know that this flow run's process is gone, if it believes otherwise or ever knew it."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    if flow_run_id is None:
        return
    with suppress(ObjectNotFound), get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state  # type: ignore[arg-type]
        if state is not None and not state.is_final():
            dead: Any = Crashed(
                message="its process was killed; start the flow again, and it goes on where this one stopped"
            )
            client.set_flow_run_state(flow_run_id, dead, force=True)


@contextmanager
def _locked() -> Iterator[IO[str]]:
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read(handle).get("pid", "unknown")
            raise UserError(f"another evolution runs in this folder (process {owner}); wait for it or end it") from None
        yield handle


def _read(handle: IO[str]) -> dict[str, Any]:
    handle.seek(0)
    try:
        found = json.loads(handle.read() or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(handle: IO[str], owner: dict[str, Any]) -> None:
    handle.truncate(0)
    handle.write(json.dumps(owner))
    handle.flush()
