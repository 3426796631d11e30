"""``make ui`` in a real browser: a page of another origin reaches neither server, and their own pages come up.

Needs Chromium (Debian: chromium); without it the tests are skipped, and tests/flows/test_guarded.py alone stands.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rstar_core.machine.ports import free_port
from tests.flows.prefect_database import copy_database

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
AUTH = "rstar:known-to-the-test"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

# What a hostile page can try without knowing the password. "read": it got an answer that it can see.
HOSTILE = """<!doctype html><title>hostile</title><script>
const prefect = "%(prefect)s", mlflow = "%(mlflow)s";
const pool = name => JSON.stringify({name: name, type: "process"});
const attempts = {
  own_origin: () => fetch("/echo", {method: "POST", body: "{}"}),
  prefect_read: () => fetch(prefect + "/api/flows/filter", {method: "POST", body: "{}"}),
  prefect_json: () => fetch(prefect + "/api/work_pools/", {method: "POST", body: pool("evil-json"),
    headers: {"content-type": "application/json"}}),
  prefect_plain: () => fetch(prefect + "/api/work_pools/", {method: "POST", body: pool("evil-plain"), mode: "no-cors"}),
  prefect_guess: () => fetch(prefect + "/api/work_pools/", {method: "POST", body: pool("evil-guess"),
    headers: {authorization: "Basic " + btoa("admin:pass")}}),
  prefect_beacon: async () => { navigator.sendBeacon(prefect + "/api/work_pools/", pool("evil-beacon")); throw 0; },
  prefect_socket: () => new Promise((good, bad) => {
    const socket = new WebSocket(prefect.replace("http", "ws") + "/api/events/in");
    socket.onopen = () => good({type: "open"}); socket.onerror = bad; }),
  mlflow_read: () => fetch(mlflow + "/api/2.0/mlflow/experiments/search?max_results=5"),
  mlflow_json: () => fetch(mlflow + "/api/2.0/mlflow/experiments/create", {method: "POST",
    body: '{"name": "evil-json"}', headers: {"content-type": "application/json"}}),
  mlflow_plain: () => fetch(mlflow + "/api/2.0/mlflow/experiments/create", {method: "POST",
    body: '{"name": "evil-plain"}', mode: "no-cors"}),
  mlflow_ajax: () => fetch(mlflow + "/ajax-api/2.0/mlflow/experiments/create", {method: "POST",
    body: '{"name": "evil-ajax"}', mode: "no-cors"}),
};
(async () => {
  const seen = {};
  for (const [name, attempt] of Object.entries(attempts))
    try { const got = await attempt(); seen[name] = got.type === "opaque" ? "sent" : "read"; }
    catch (error) { seen[name] = "refused"; }
  await fetch("/report", {method: "POST", body: JSON.stringify(seen)});
})();
</script>"""


class Servers(NamedTuple):
    prefect: str
    mlflow: str
    folder: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """``make ui`` of a project that is this one, on ports of its own."""
    folder = tmp_path_factory.mktemp("ui")
    for name in ("flows", "tasks", "rstar_core", "infra", "dvc.yaml", "params.yaml", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    ports = {"RSTAR_PREFECT_PORT": str(free_port()), "RSTAR_MLFLOW_PORT": str(free_port())}
    own = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_AUTH_STRING": AUTH, "PYTHONUNBUFFERED": "1"}
    copy_database(tmp_path_factory, folder / "prefect" / "prefect.db")
    log = folder / "ui.log"
    command = [sys.executable, "-m", "flows.ui"]
    with log.open("wb") as sink, running(command, cwd=folder, env={**os.environ, **ports, **own}, stdout=sink):
        deadline = time.monotonic() + 200
        while "Ctrl-C ends all" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        prefect, mlflow = (f"http://127.0.0.1:{port}" for port in ports.values())
        yield Servers(prefect, mlflow, folder)


@contextmanager
def running(command: list[str], **settings: Any) -> Iterator[subprocess.Popen[Any]]:
    """``command`` in a group of its own, asked to end with all that it started, then made to."""
    process = subprocess.Popen(command, start_new_session=True, **settings)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(timeout=30)


@contextmanager
def hostile(page: str) -> Iterator[tuple[int, queue.Queue[dict[str, str]]]]:
    """The port of a server that serves ``page``, and what the page reports."""
    reports: queue.Queue[dict[str, str]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(page.encode() if self.path == "/" else b"", "text/html")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/report":
                reports.put(json.loads(body))
            self._answer(body, "application/json")

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, reports
    finally:
        server.shutdown()
        server.server_close()


def browser(folder: Path, *arguments: str) -> AbstractContextManager[subprocess.Popen[Any]]:
    profile = folder / f"profile-{time.monotonic_ns()}"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *arguments]
    return running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def asked(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@pytest.mark.parametrize("name", ["127.0.0.1", "evil.example"])
def test_a_page_of_another_origin_reads_nothing_and_changes_nothing(name: str, servers: Servers) -> None:
    page = HOSTILE % {"prefect": servers.prefect, "mlflow": servers.mlflow}
    names = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with (
        hostile(page) as (port, reports),
        browser(servers.folder, names, f"http://{name}:{port}/"),
    ):
        seen = reports.get(timeout=120)
    assert seen.pop("own_origin") == "read"  # the script ran
    assert {name: what for name, what in seen.items() if what == "read"} == {}
    key = f"Basic {base64.b64encode(AUTH.encode()).decode()}"
    pools = asked(f"{servers.prefect}/api/work_pools/filter", {}, Authorization=key)
    assert [pool["name"] for pool in pools] == ["rstar"]
    experiments = asked(f"{servers.mlflow}/api/2.0/mlflow/experiments/search?max_results=50")["experiments"]
    assert [experiment["name"] for experiment in experiments if "evil" in experiment["name"]] == []


@pytest.mark.parametrize(("name", "text"), [("prefect", "Prefect"), ("mlflow", "MLflow")])
def test_their_own_pages_come_up(name: str, text: str, servers: Servers) -> None:
    with browser(servers.folder, "--virtual-time-budget=20000", "--dump-dom", getattr(servers, name)) as process:
        page, _ = process.communicate(timeout=120)
    assert text in page
    assert len(page) > 2000, page  # more than the empty page that the script fills
