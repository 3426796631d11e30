"""Each test attacks one property: nothing leaks between runs, nothing gets out, nothing outlasts its limits."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import pytest

from rstar_core.sandbox.base import Status
from rstar_core.sandbox.wire import Reply, decode_reply
from tests.unit.sandbox.shell import Shell, open_shell

NUM_RUNS_TO_SEE_BOTH_SERVERS = 8


def reply_frame(reply: object) -> bytes:
    payload = json.dumps(reply).encode()
    return struct.pack(">I", len(payload)) + payload


@pytest.mark.parametrize(
    ("poison", "probe", "expected"),
    [
        ("x = 1", "print('x' in globals())", "False"),
        ("import builtins; builtins.LEAK = 1", "import builtins; print(hasattr(builtins, 'LEAK'))", "False"),
        ("import sympy; sympy.solve = None", "import sympy; print(sympy.solve('x - 1'))", "[1]"),
        ("import math; math.sqrt = None", "import math; print(math.sqrt(4))", "2.0"),
        ("import sys; sys.modules['json'] = None", "import json; print(json.dumps(1))", "1"),
        ("import numpy; numpy.random.rand(9)", "import numpy; numpy.random.seed(0); print('same')", "same"),
    ],
)
def test_state_never_leaks(shell: Shell, poison: str, probe: str, expected: str) -> None:
    shell.run_all([poison] * NUM_RUNS_TO_SEE_BOTH_SERVERS)
    outcomes = shell.run_all([probe] * NUM_RUNS_TO_SEE_BOTH_SERVERS)
    assert {outcome.stdout for outcome in outcomes} == {f"{expected}\n"}


def test_a_sleeper_meets_the_wall_clock(shell: Shell) -> None:
    outcome = shell.run("import time\ntime.sleep(1000)")
    assert outcome.status is Status.TIMEOUT and outcome.seconds < 5


def test_a_loop_meets_the_processor_limit(shell: Shell) -> None:
    outcome = shell.run("while True:\n    try:\n        while True: pass\n    except BaseException: pass")
    assert outcome.status in (Status.KILLED, Status.TIMEOUT)
    assert outcome.status is Status.TIMEOUT or outcome.error == "CPU limit of 1 s exceeded"


def test_a_c_loop_meets_a_limit(shell: Shell) -> None:
    assert shell.run("10 ** 10 ** 10").status in (Status.KILLED, Status.TIMEOUT)


@pytest.mark.parametrize("code", ["x = [0] * 10**9", "x = []\nwhile True: x.append(bytearray(10**7))"])
def test_memory_is_limited_and_the_run_says_so(shell: Shell, code: str) -> None:
    outcome = shell.run(code)
    assert (outcome.status, outcome.error) == (Status.ERROR, "MemoryError")


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm", "/var/tmp", str(Path.home()), str(Path(__file__).parent)])
def test_no_file_is_written(shell: Shell, place: str) -> None:
    target = Path(place) / "rstar-sandbox-wrote-this"
    assert shell.run(f"open({str(target)!r}, 'w').write('x')").status is Status.ERROR
    assert not target.exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/1/environ", __file__])
def test_no_foreign_file_is_read(shell: Shell, path: str) -> None:
    outcome = shell.run(f"print(open({path!r}).read())")
    assert (outcome.status, outcome.stdout) == (Status.ERROR, "")


def test_the_project_is_out_of_reach(shell: Shell) -> None:
    assert shell.run("import rstar_core.config").status is Status.ERROR


def test_the_network_is_out_of_reach(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = shell.run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)\nprint('connected')")
    assert (outcome.status, outcome.stdout) == (Status.ERROR, "")


def test_the_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "canary")
    with open_shell(num_servers=1) as fresh:
        names = fresh.run("import os\nprint(*sorted(os.environ))").stdout.split()
    assert "A_SECRET" not in names and "PYTHONPATH" not in names


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.execv('/bin/true', ['true'])",
        "import threading; threading.Thread(target=print).start()",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(os.getpid(), 19)",
        "import os; os.chmod(os.__file__, 0o777)",
        "import os; os.unlink(os.__file__)",
        "import os; os.setuid(0)",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
        "import os; os.mkfifo('/tmp/rstar-fifo')",
    ],
)
def test_powers_are_refused(shell: Shell, code: str) -> None:
    assert shell.run(code).status is Status.ERROR


def test_leaving_early_is_no_success(shell: Shell) -> None:
    outcome = shell.run("import os\nprint(42)\nos._exit(0)")
    assert (outcome.status, outcome.stdout) == (Status.KILLED, "")


def test_a_crash_is_only_the_childs(shell: Shell) -> None:
    outcome = shell.run("import ctypes\nctypes.string_at(0)")
    assert (outcome.status, outcome.error) == (Status.KILLED, "ended by SIGSEGV")


def test_destructors_and_exit_handlers_never_run(shell: Shell) -> None:
    outcome = shell.run("import atexit, time\natexit.register(time.sleep, 99)\nprint('done')")
    assert (outcome.status, outcome.stdout) == (Status.OK, "done\n") and outcome.seconds < 2


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">I", 0xFFFFFFF0) + b"A" * 4096,
        struct.pack(">I", 3) + b"\xff\xff\xff",
        struct.pack(">I", 20000 * 2) + b"[" * 20000 + b"]" * 20000,
        reply_frame({"stdout": "42", "error": None, "more": 1}),
        reply_frame({"stdout": 42, "error": None}),
        reply_frame({"stdout": "42" * 1000, "error": None}),
        reply_frame({"stdout": "42", "error": ""}),
        reply_frame({"stdout": "42", "error": {"type": "E", "message": "x" * 400, "line": 1}}),
        reply_frame({"stdout": "42", "error": {"type": "E", "message": "x", "line": -1}}),
        reply_frame({"stdout": "42", "error": {"type": "E", "message": "x", "line": 1, "more": 1}}),
        reply_frame([]),
    ],
)
def test_a_forged_frame_is_a_protocol_error(shell: Shell, frame: bytes) -> None:
    outcome = shell.run(f"import os\nos.write(3, {frame!r})\nos._exit(0)")
    assert (outcome.status, outcome.stdout) == (Status.PROTOCOL, "")


def test_a_partial_frame_blocks_nobody(shell: Shell) -> None:
    stalling = "import os, time\nos.write(3, b'\\0\\0\\0\\x09{')\ntime.sleep(1000)"
    outcomes = shell.run_all([stalling, *["print(1)"] * 20])
    assert outcomes[0].status is Status.TIMEOUT
    assert {outcome.stdout for outcome in outcomes[1:]} == {"1\n"}


def test_a_reply_with_surrogates_is_made_storable() -> None:
    payload = json.dumps({"stdout": "\ud800", "error": None}).encode()
    assert decode_reply(payload, 10) == Reply("?", None)


@pytest.mark.parametrize("name", ["reasoning_gym", "rstar_core.problems", "pip", "torch", "prefect"])
def test_of_the_environment_only_the_packages_for_mathematics_are_there(shell: Shell, name: str) -> None:
    """A step that could import the generator of its problem could compute the answer from it."""
    found = shell.run(f"import {name}")
    assert found.raised and found.raised.type == "ModuleNotFoundError"


def test_the_packages_for_mathematics_work(shell: Shell) -> None:
    code = "import numpy, scipy.optimize, scipy.linalg, sympy, mpmath\nprint(sympy.sqrt(8), scipy.__name__)"
    assert shell.run(code).stdout == "2*sqrt(2) scipy\n"
