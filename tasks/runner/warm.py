"""Stages, and DVC around them, begin in a copy of a process that has loaded their libraries: those take longer than
many a stage.

A flow keeps one such process (``python -m tasks.runner.warm SOCKET``). ``python -m tasks <stage>`` finds it by its
socket, hands over its command line, environment, folder and standard streams, waits for the copy to end, and ends as
that did; so does ``flows.mortal`` for DVC. Only libraries are loaded beforehand, nothing of this project, and nothing
has been computed: a copy differs from a new process in nothing but the time. Where there is none, a stage loads what it
needs itself.

Whoever ends takes the others along: the kernel ends the copies with the process that they are copies of, and that
process ends a copy whose caller is gone.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rstar_core.machine.parent_death import die_with_parent
from rstar_core.machine.variables import WARM_SOCKET

LIBRARIES = (
    "pyarrow.parquet", "pydantic", "yaml", "torch", "transformers.models.llama.modeling_llama",
    "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "transformers.tokenization_utils_tokenizers", "trl", "trl.trainer.sft_trainer", "trl.trainer.reward_trainer",
    "datasets", "dvc.cli", "dvc.commands.repro", "dvc.commands.data_sync", "dvc.repo.reproduce", "dvc.stage.cache",
)  # fmt: skip
STREAMS = (0, 1, 2)
MAX_REQUEST = 1 << 20


# --- the caller -----------------------------------------------------------------------------------------------


def run_warm(program: str, argv: Sequence[str]) -> int | None:
    """The exit code of ``python -m <program> *argv`` in a warm copy; None where there is none to be had."""
    address = WARM_SOCKET.get()
    if not address or program not in PROGRAMS:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        request = {"program": program, "argv": list(argv), "folder": str(Path.cwd()), "environment": dict(os.environ)}
        try:
            channel.connect(address)
            socket.send_fds(channel, [json.dumps(request).encode()], STREAMS)
            pid = int(channel.recv(64))
        except (OSError, ValueError):  # not there, or not yet, or a request that is too long for it
            return None
        with _signals_passed_on(pid):
            code = channel.recv(64)
    if not code:
        print("error: the process that the stage was a copy of has ended; the same command continues", file=sys.stderr)
        return 1
    return int(code)


@contextmanager
def _signals_passed_on(pid: int) -> Iterator[None]:
    """The copy and what it has started are asked to end in the caller's place, as by a terminal."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(pid, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- the process that is copied -------------------------------------------------------------------------------


def serve(address: Path) -> None:
    """Load the libraries, then copy this process for each caller, until it is ended."""
    _load()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, selectors.DefaultSelector() as selector:
        address.unlink(missing_ok=True)
        listener.bind(str(address))
        address.chmod(0o600)
        listener.listen()
        _Parent(listener, selector).work()


def _load() -> None:
    import importlib

    # OMP_WAIT_POLICY is read now, for all copies. Where nobody sets it, threads spin for a while and then sleep, which
    # is nearly as good as either policy.
    for name in LIBRARIES:
        with suppress(ImportError):  # whoever needs it will say so
            importlib.import_module(name)


class _Parent:
    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        self._listener = listener
        self._selector = selector
        self._callers: dict[int, socket.socket] = {}  # by the pid of their copy
        self._wake, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._kept = wake  # else it would be closed

    def work(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._copy)
        self._selector.register(self._wake, selectors.EVENT_READ, self._reap)
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _copy(self) -> None:
        caller, _ = self._listener.accept()
        with suppress(OSError, ValueError):
            message, streams, _, _ = socket.recv_fds(caller, MAX_REQUEST, len(STREAMS))
            request = json.loads(message)
            pid = os.fork()
            if pid == 0:
                self._become(request, streams)
            for stream in streams:
                os.close(stream)
            with suppress(OSError):
                os.setpgid(pid, pid)  # before its caller can signal the group
            caller.send(str(pid).encode())
            self._callers[pid] = caller
            self._selector.register(caller, selectors.EVENT_READ, self._end_of(pid))
            return
        caller.close()

    def _end_of(self, pid: int) -> Callable[[], None]:
        """A caller says nothing more: that it can be read from is its end, and so its copy's."""

        def end() -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._selector.unregister(self._callers[pid])

        return end

    def _reap(self) -> None:
        self._wake.recv(4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                with self._callers.pop(pid) as caller:
                    with suppress(KeyError):
                        self._selector.unregister(caller)
                    with suppress(OSError):
                        caller.send(str(_exit_code(status)).encode())

    def _become(self, request: dict[str, Any], streams: Sequence[int]) -> None:
        """In the copy: be what the caller asked for, and end."""
        die_with_parent()
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for stream, standard in zip(streams, STREAMS, strict=True):
            os.dup2(stream, standard)
        for stream in streams:
            os.close(stream)
        self._selector.close()
        for ours in (self._listener, self._wake, self._kept, *self._callers.values()):
            ours.close()
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[1:] = request["argv"]
        code = 1
        try:
            code = _run(PROGRAMS[request["program"]], request["argv"])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _stage(argv: Sequence[str]) -> int:
    from rstar_core.engines.local.models import use_threads
    from tasks.__main__ import CONTINUE, main
    from tasks.runner.signals import end_in_time

    with suppress(KeyError, ValueError):  # torch has read it when it was loaded, and makes its own of what is no number
        use_threads(int(os.environ["OMP_NUM_THREADS"]))
    del os.environ[WARM_SOCKET.name]  # it is the copy
    end_in_time(CONTINUE)
    return main(argv)


def _dvc(argv: Sequence[str]) -> int:
    from dvc.cli import main

    return int(main(argv))


PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {"tasks": _stage, "dvc": _dvc}


def _run(program: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    import traceback

    try:
        return program(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    die_with_parent()
    serve(Path(sys.argv[1]))
