"""The fork server: loads the libraries once, then forks one child per run. Started by exec, never imported.

It sees descriptors, never code or results. Control messages, one per packet: in, anything with a new child's end of a
socket; out, JSON lists: ``["ready", [layer, ...]]`` once, with the listener for branches where there is one, then
``["exit", pid, wait_status, cpu_seconds, peak_mib]`` for each process that ended, by its number in here. It ends when
the broker's end of the control closes.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import logging
import os
import selectors
import socket
import sys
from collections.abc import Sequence


def preload(libraries: Sequence[str]) -> None:
    """Load what steps use and touch it, so that no child pays for first calls; seed numpy the same for every run."""
    for name in libraries:
        importlib.import_module(name)
    if "sympy" in libraries:
        _warm_sympy()
    if "math_verify" in libraries:
        _warm_math_verify()
    if "numpy" in libraries:
        importlib.import_module("numpy").random.seed(0)
    gc.collect()
    gc.disable()
    gc.freeze()


def _warm_sympy() -> None:
    import sympy

    x, y = sympy.symbols("x y")
    sympy.solve(x**2 - x - 1, x)
    sympy.solve(sympy.Eq(2 * x + 3, 7), x)
    sympy.solve([x + y - 3, x - y - 1], [x, y])
    sympy.simplify(sympy.sin(x) ** 2 + sympy.cos(x) ** 2)
    sympy.factor(sympy.expand((x + 1) ** 3))
    sympy.diff(x**3 * sympy.sin(x), x)
    sympy.latex(sympy.integrate(x**2, x))
    sympy.factorint(360)
    sympy.Matrix([[1, 2], [3, 4]]).det()
    print(sympy.sqrt(8) / 2 + sympy.Rational(1, 3), sympy.pi.evalf(), sympy.nsimplify(0.5), file=io.StringIO())


def _warm_math_verify() -> None:
    from math_verify import parse, verify

    logging.disable()  # it warns that we, not it, keep the time
    for text in (r"$\frac{1}{2}+\sqrt{3}$", r"$x^2 \le 3$", r"$(-\infty, 3]$", r"$\{1, 2\}$", r"$2\pi$", "$0.5$"):
        expression = parse(text, parsing_timeout=None)
        verify(expression, expression, timeout_seconds=None)


class Server:
    """The children of one zygote, and the children's branches: forks the first kind, reaps both."""

    def __init__(self, control: socket.socket, null: int, confinement: Confinement) -> None:
        self._control = control
        self._confinement = confinement
        self._null = null
        self._ends = child_ends()

    def serve(self) -> None:
        """Until the control closes."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._obey)
            selector.register(self._ends, selectors.EVENT_READ, self._reap)
            while all(key.data() for key, _ in selector.select()):
                pass

    def _obey(self) -> bool:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 256, 1)
        except ConnectionResetError:  # the broker was killed, with something of ours unread
            return False
        if not message:
            return False
        if os.fork() == 0:
            live(descriptors[0], self._null, self._confinement)
        os.close(descriptors[0])
        return True

    def _reap(self) -> bool:
        os.read(self._ends, 4096)
        while True:
            try:
                pid, wait_status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return True
            report = ["exit", pid, wait_status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
            try:
                self._control.send(json.dumps(report).encode())
            except OSError:  # the broker is gone
                return False


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    cpu_seconds, memory_mib, max_output_chars, broker_pid = map(int, sys.argv[2:6])
    die_with_parent(broker_pid)
    prefer_as_oom_victim()
    small_pages()
    proc, null = os.open("/proc", os.O_RDONLY), os.open(os.devnull, os.O_RDWR)
    layers = isolate()
    die_with_parent(broker_pid)  # again: a new user clears it
    _fork_first_process(control, has_own_pids="namespaces" in layers)
    preload(sys.argv[6:])
    max_address_space, max_data = (used + memory_mib * MIB for used in memory_in_use(proc))
    os.close(proc)
    layers += ["landlock"] if lock_down() else []
    # Without a process namespace, nothing would end a branch when this process dies.
    listener = listen_to_branches(libc) if has_filter() and "namespaces" in layers else -1
    syscalls = build_filter(may_branch=listener >= 0)
    layers += ["seccomp"] if syscalls else []
    layers += ["snapshots"] if listener >= 0 else []
    confinement = Confinement(os.getpid(), cpu_seconds, max_address_space, max_data, max_output_chars, syscalls)
    server = Server(control, null, confinement)
    socket.send_fds(control, [json.dumps(["ready", layers]).encode()], [listener] if listener >= 0 else [])
    if listener >= 0:
        os.close(listener)
    server.serve()


def _fork_first_process(control: socket.socket, has_own_pids: bool) -> None:
    """Go on as process 1 of the new namespace, whose end ends every other; this process only waits for it."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with_parent(0 if has_own_pids else parent)  # a parent outside the namespace has the number 0
        return
    control.close()
    os.waitpid(pid, 0)
    os._exit(0)


if __name__ == "__main__":
    # Only this room's own few files come from the project; the path must not stay for untrusted code to import by.
    sys.path.insert(0, os.path.abspath(f"{__file__}/../../.."))  # noqa: PTH100 - pathlib is not loaded yet
    from rstar_core.sandbox.child import Confinement, live
    from rstar_core.sandbox.confine import (
        MIB,
        child_ends,
        die_with_parent,
        fix_addresses,
        isolate,
        libc,
        lock_down,
        memory_in_use,
        prefer_as_oom_victim,
        small_pages,
    )
    from rstar_core.sandbox.seccomp import build_filter, has_filter, listen_to_branches

    sys.path.pop(0)
    fix_addresses()
    main()
