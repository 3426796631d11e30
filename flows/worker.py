"""``python -m flows.worker``: the deployments, and a worker for them, at the server of ``PREFECT_API_URL``.

`make ui` starts one beside its own server; elsewhere (infra/services/compose.yaml) this is a machine's part.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from flows.servers import STARTUP_SECONDS, answers
from rstar_core.errors import UserError
from rstar_core.machine import variables

POOL = "rstar"
COMMAND = ("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1")


def main() -> int:
    try:
        variables.check()
        await_server(os.environ.get("PREFECT_API_URL", ""))
        os.environ[variables.ROOT.name] = str(Path.cwd())
        deploy({})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return os.execv(sys.executable, [sys.executable, "-m", *COMMAND])


def await_server(api: str) -> None:
    """It may be about to start.

    Raises:
        UserError: none is named, or it does not answer.
    """
    if not api:
        raise UserError("PREFECT_API_URL names no server; set it, or run make ui, which starts one")
    deadline = time.monotonic() + STARTUP_SECONDS
    while not answers(f"{api}/health"):
        if time.monotonic() > deadline:
            raise UserError(f"no answer from {api}/health in {STARTUP_SECONDS} s; is the server started?")
        time.sleep(1)


def deploy(environment: Mapping[str, str]) -> None:
    """Create the work pool, one run at a time, and the deployments. Doing it again changes nothing.

    Raises:
        UserError: what Prefect says.
    """
    for arguments in (
        ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
        ["work-pool", "set-concurrency-limit", POOL, "1"],
        ["--no-prompt", "deploy", "--prefect-file", "infra/prefect.yaml", "--all"],
    ):
        command = [sys.executable, "-m", "prefect", *arguments]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"prefect {' '.join(arguments)}: {' '.join((done.stderr or done.stdout).split())}")


if __name__ == "__main__":
    sys.exit(main())
