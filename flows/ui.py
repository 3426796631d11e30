"""``make ui``: Prefect and MLflow with their UIs, a worker and the deployments, on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from flows.guarded import CLIENT_VARIABLE, password
from flows.servers import log_of, prefect_server, process, server
from flows.worker import COMMAND, deploy
from rstar_core.errors import UserError
from rstar_core.machine import variables
from rstar_core.machine.ports import HOST, is_free
from tasks.runner.tracking import page_of_runs

PORTS = (variables.PREFECT_PORT, variables.MLFLOW_PORT)


def main(argv: Sequence[str] | None = None) -> int:
    summary = "Prefect and MLflow with their UIs, a worker and the deployments, on this machine, until Ctrl-C."
    settings = f"Ports: {', '.join(f'{one.name} ({one.default})' for one in PORTS)}."
    argparse.ArgumentParser(prog="python -m flows.ui", description=summary, epilog=settings).parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):  # end the children whichever way we are asked to end
        signal.signal(number, signal.default_int_handler)
    try:
        variables.check()
        serve()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


def serve() -> None:
    """Start everything, say how to use it, and watch over it.

    Raises:
        UserError: a port is taken, or a part does not start or has ended.
    """
    prefect_port, mlflow_port = map(free_port, PORTS)
    api = f"http://{HOST}:{prefect_port}/api"
    mlflow_url = f"http://{HOST}:{mlflow_port}"
    auth = password()
    environment = {"PREFECT_API_URL": api, CLIENT_VARIABLE: auth, variables.MLFLOW_URL.name: mlflow_url}
    environment[variables.ROOT.name] = str(Path.cwd())
    with ExitStack() as running:
        print(f"starting (logs: {log_of('*')})", flush=True)
        pages = {"PREFECT_SERVER_UI_API_URL": api}  # its pages would ask the default port
        children = {"prefect": running.enter_context(prefect_server("prefect", prefect_port, auth, pages))}
        children["mlflow"] = running.enter_context(mlflow(mlflow_port))
        put_right_at(api, auth)
        deploy(environment)
        children["worker"] = running.enter_context(process("worker", COMMAND, environment))
        print(welcome(api, auth, f"{mlflow_url}/{page_of_runs()}"), flush=True)
        watch(children)


def mlflow(number: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    command = ["mlflow", "server", "--app-name", "rstar", "--host", HOST, "--port", str(number), "--workers", "1"]
    stores = ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlruns"]
    small = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    return server("mlflow", [*command, *stores], f"http://{HOST}:{number}/health", small)


def free_port(variable: variables.Variable[int]) -> int:
    """The port that ``variable`` names.

    Raises:
        UserError: it is taken.
    """
    value = variable.get()
    if not is_free(value):
        raise UserError(f"port {value} is in use; choose another: make ui {variable.name}=<port>")
    return value


def put_right_at(api: str, auth: str) -> None:
    """A flow run that was killed with the last server is not running, whatever Prefect's database says."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from flows.lock import put_right

    with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: auth}):
        put_right()


def welcome(api: str, auth: str, mlflow_page: str) -> str:
    return f"""
Prefect  {api.removesuffix("/api")}   (its page asks for a password: {auth})
MLflow   {mlflow_page}

Run a round from another terminal:
  export PREFECT_API_URL={api} {CLIENT_VARIABLE}={auth}
  .venv/bin/prefect deployment run evolve-round/evolve-round -p round_id=r1 --watch
or all rounds:
  .venv/bin/prefect deployment run evolve/evolve --watch

Ctrl-C ends all of it."""


def watch(children: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, child in children.items():
            if child.poll() is not None:
                raise UserError(f"{name} ended with exit code {child.returncode}; its log is {log_of(name)}")
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
