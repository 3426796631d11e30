"""``infra/services/compose.yaml``: what its containers would run carries a round, with a real Postgres and S3 store.

``make test-services``. The commands and variables are those of the file; only addresses and folders are this machine's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from rstar_core.machine.ports import free_port
from tests.e2e.test_round import ENVIRONMENT, ROOT, copy_project, run
from tests.flows.test_browser import running

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
SERVICES = yaml.safe_load((ROOT / "infra/services/compose.yaml").read_text())["services"]
PASSWORD = "of-a-test"
PORTS = {"postgres": 5432, "s3": 9000, "prefect": 4200, "mlflow": 5000}


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


class Services:
    """The containers' commands as processes of this machine, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS}
        self._running = ExitStack()

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def here(self, text: str) -> str:
        """A text of the file with this machine's addresses and folders."""
        for name, port in PORTS.items():
            for before in ("http://", "@"):
                text = text.replace(f"{before}{name}:{port}", f"{before}127.0.0.1:{self.ports[name]}")
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[name]}")
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{self.ports[name]}")
            text = text.replace(f"--port {port}", f"--port {self.ports[name]}")
        text = text.replace("${RSTAR_PASSWORD:?choose one}", PASSWORD).replace("$$", "$")
        return text.replace("0.0.0.0", "127.0.0.1").replace("/data", str(self.folder / "data"))

    def environment(self, name: str) -> dict[str, str]:
        return {variable: self.here(value) for variable, value in SERVICES[name]["environment"].items()}

    def start(self, name: str, cwd: Path) -> None:
        given = SERVICES[name]["command"]
        words = shlex.split(self.here(given)) if isinstance(given, str) else [self.here(word) for word in given]
        command = [*SERVICES[name].get("entrypoint", ()), *words]
        environment = {**ENVIRONMENT, **self.environment(name)}
        self._run(command, name, cwd=cwd, env=environment)

    def _run(self, command: list[str], name: str, **more: Any) -> None:
        sink = self._running.enter_context(self.log(name).open("wb"))
        self._running.enter_context(running(command, stdout=sink, stderr=sink, **more))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start_postgres(self) -> None:
        """As its image does: a new cluster, the database that is named, then the script that is mounted."""
        named = self.environment("postgres")
        binaries = Path(shutil.which("postgres") or "/").resolve().parent
        data, secret = self.folder / "postgres", self.folder / "password"
        data.mkdir()
        secret.write_text(named["POSTGRES_PASSWORD"])
        owner: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses to run as root
        if owner:
            self.folder.chmod(0o755)
            for path in (data, secret):
                shutil.chown(path, "postgres")
        new = [binaries / "initdb", "-D", data, "-U", named["POSTGRES_USER"], "-A", "scram-sha-256", "--pwfile", secret]
        subprocess.run(list(map(str, new)), check=True, capture_output=True, cwd=self.folder, **owner)
        settings = ("listen_addresses=127.0.0.1", f"port={self.ports['postgres']}", "unix_socket_directories=")
        command = [str(binaries / "postgres"), "-D", str(data), *(word for one in settings for word in ("-c", one))]
        self._run(command, "postgres", cwd=self.folder, **owner)
        until(lambda: self.psql("postgres", "select 1") == "1", "Postgres answers")
        self.psql("postgres", f"create database {named['POSTGRES_DB']}")
        self.psql("postgres", (ROOT / "infra/services/databases.sql").read_text())

    def status(self, name: str, host: str) -> int:
        """What a program gets that calls the server by the name ``host``."""
        path = {"prefect": "/api/health", "mlflow": "/api/2.0/mlflow/experiments/search?max_results=1"}[name]
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[name]}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def psql(self, database: str, query: str) -> str:
        where = ["-h", "127.0.0.1", "-p", str(self.ports["postgres"]), "-U", "rstar", "-d", database]
        asked = subprocess.run(
            ["psql", *where, "--no-align", "--tuples-only", "--command", query],
            env={**ENVIRONMENT, "PGPASSWORD": PASSWORD},
            capture_output=True,
            text=True,
        )
        return asked.stdout.strip()


@pytest.fixture
def services() -> Iterator[Services]:
    for program in ("postgres", "psql"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}")
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to Postgres's user
    try:
        with Services(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder)


def test_a_worker_carries_a_round_and_all_of_it_is_in_postgres_and_on_the_store(
    services: Services, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    copy_project(project)
    run(project, sys.executable, "-m", "tasks.runner.profiles", "scripted")
    run(project, sys.executable, "-m", "dvc", "remote", "add", "--default", "s3", "s3://rstar/dvc")
    services.start_postgres()
    for name in ("s3", "prefect", "mlflow", "worker"):
        services.start(name, project)
    until(lambda: "started!" in services.log("worker").read_text(), "the worker is there")

    command = ["prefect", "deployment", "run", "evolve-round/evolve-round", "-p", "round_id=r1", "--watch"]
    said = run(project, sys.executable, "-m", *command, environment=services.environment("worker"))

    assert "Completed" in services.psql("prefect", "select state_name from flow_run"), said
    assert services.status("prefect", "prefect:4200") == services.status("mlflow", "mlflow:5000") == 200
    assert services.status("prefect", "evil.example") == services.status("mlflow", "evil.example") == 403
    tracked = services.psql("mlflow", "select count(*) from runs where status = 'FINISHED'")
    assert tracked >= "2", services.log("mlflow").read_text()[-3000:] + said
    bucket = services.folder / "data/rstar"
    assert any((bucket / "mlflow").rglob("summary.md")), "artifacts are on the store"
    assert any((bucket / "dvc/files").rglob("*")), "results were pushed"
    assert (project / "artifacts/r1/summary.json").is_file() and not (project / "mlflow.db").exists()
