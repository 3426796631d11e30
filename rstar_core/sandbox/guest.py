"""The container's end of ``container.py``, given to an interpreter as text: our package is not there.

Frames as in ``wire.py``. In: the set-up (sources of modules by name, limits), then one request for each step. Out: the
set-up's echo, an empty frame, then one reply for each step. Standard library only.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import struct
import sys
import types
from typing import Any

MIB = 1 << 20


def main() -> None:
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, sys.orig_argv)
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    setup = receive(requests)
    for name, source in setup["modules"].items():
        module = sys.modules[name] = types.ModuleType(name)
        exec(compile(source, name, "exec"), module.__dict__)
    limit(setup["cpu_seconds"], setup["memory_mib"])
    seed()
    serve(requests, replies, setup["max_output_chars"])


def serve(requests: int, replies: int, max_output_chars: int) -> None:
    """Until the requests end; everything that it calls is bound here, before the code can replace it."""
    from rstar_core.sandbox.interpreter import CappedOutput, Interpreter

    end, write, dumps, take = os._exit, send, json.dumps, receive
    run = Interpreter(CappedOutput(max_output_chars)).run
    try:
        write(replies, b"")
        while True:
            write(replies, dumps(run(take(requests)[1])).encode())
    finally:
        end(0)


def limit(cpu_seconds: int, memory_mib: int) -> None:
    """Best effort: not every system has each of them."""
    import resource

    for name, soft, hard in (
        ("RLIMIT_CPU", cpu_seconds, cpu_seconds + 1),
        ("RLIMIT_AS", memory_mib * MIB, memory_mib * MIB),
        ("RLIMIT_FSIZE", 0, 0),
        ("RLIMIT_CORE", 0, 0),
    ):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (soft, hard))


def seed() -> None:
    random.seed(0)
    with contextlib.suppress(ImportError):
        importlib.import_module("numpy").random.seed(0)


def receive(source: int) -> Any:
    (length,) = struct.unpack(">I", read(source, 4))
    return json.loads(read(source, length))


def read(source: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(source, count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def send(target: int, payload: bytes) -> None:
    data = struct.pack(">I", len(payload)) + payload
    while data:
        data = data[os.write(target, data) :]


if __name__ == "__main__":
    main()
