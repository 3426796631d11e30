"""Prefect's API can run commands: a page of another origin must not reach it."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.guarded import Guard
from flows.servers import temporary_prefect

OURS = "127.0.0.1:4200"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def status(kind: str = "http", **headers: str) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(app)({"type": kind, "headers": pairs}, None, send))
    return int(sent[0].get("status") or sent[0]["code"])


@pytest.mark.parametrize(
    "headers",
    [{"host": OURS}, {"host": "localhost:4200"}, {"host": OURS, "origin": f"http://{OURS}"}, {"host": "127.0.0.1"}],
)
def test_programs_and_our_own_pages_come_in(headers: dict[str, str]) -> None:
    assert status(**headers) == 200


def test_other_machines_come_in_by_the_names_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(host="prefect:4200") == 403
    monkeypatch.setenv("RSTAR_SERVER_NAMES", "prefect, rstar.example")
    assert status(host="prefect:4200") == status(host="rstar.example") == 200
    assert status(host="prefect:4200", origin="http://evil.example") == status(host="other:4200") == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "evil.example:4200"},
        {"host": "127.0.0.1.evil.example"},
        {"host": OURS, "origin": "http://evil.example"},
        {"host": OURS, "origin": "null"},
        {"host": OURS, "origin": "http://127.0.0.1:5000"},
        {"host": OURS, "origin": f"https://{OURS}"},
        {"host": "evil.example:4200", "origin": "http://evil.example:4200"},
        {"host": "[::1"},
        {"host": "user@127.0.0.1@evil.example"},
    ],
)
def test_everyone_else_stays_out(headers: dict[str, str]) -> None:
    assert status(**headers) == 403
    assert status("websocket", **headers) == 1008


def ask(url: str, **headers: str) -> int:
    data = b"{}" if url.endswith("filter") else None
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_real_server_wants_our_name_our_origin_and_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with temporary_prefect() as (api, auth):
        key = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
        flows = f"{api}/flows/filter"
        assert ask(f"{api}/health") == 200
        assert ask(flows, **key) == 200
        assert ask(flows) == 401
        assert ask(flows, Authorization="Basic cnN0YXI6d3Jvbmc=") == 401
        assert ask(flows, **key, Origin="http://evil.example") == 403
        assert ask(flows, **key, Host="evil.example") == 403


LEAVES_A_CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("pids").write_text(str(child.pid))
time.sleep(60)
"""
OWNER = """
import time
from flows.servers import process
with process("server", ["leaves_a_child"], {}) as child:
    time.sleep(60)
"""


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_server_ends_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    (tmp_path / "leaves_a_child.py").write_text(LEAVES_A_CHILD)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    its = psutil.Process(owner.pid).children(recursive=True)
    assert int((tmp_path / "pids").read_text()) in {one.pid for one in its}
    owner.kill() if is_killed else owner.send_signal(2)
    owner.wait()
    _, left = psutil.wait_procs(its, timeout=20)
    assert not left
