"""Runs per second and per CPU second: our sandbox, the same without isolation, and how others run model-written code.

``python -m benchmarks.sandbox [rates|trajectory|isolation|soak ...]``; without a name, all parts. Baselines: (a) a new
interpreter for each run; (b) the released code's way: a pool of 12 forked processes, made anew for each search step, in
which each of 32 candidates runs its whole prefix. CPU seconds are of all processes, without what starting and stopping
servers costs. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import sympy  # noqa: F401 - the pool's processes inherit it, as in the released code

from rstar_core.config import SandboxLimits
from rstar_core.sandbox import server
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.sandbox.snapshots import SnapshotBudget

LIMITS = SandboxLimits(wall_seconds=30, cpu_seconds=8, memory_mib=512, max_output_chars=4000)
NONE, KEPT = SnapshotBudget(0, 0), SnapshotBudget(400, 4096)
TRIVIAL = "print(1 + 1)"
SOLVE = "import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - 7 * x + 12, x))"
# A solution as a model writes it; {n} makes each candidate its own.
TYPICAL = (
    "import sympy as sp\nx = sp.Symbol('x')\na, b = {n}, 5\nprint(a, b)",
    "expression = (x + a) * (2 * x - b) - {n}\nprint(expression)",
    "expanded = sp.expand(expression) + {n}\nprint(expanded)",
    "roots = sp.solve(expanded - {n}, x)\nprint(roots)",
    "total = sum(roots) + {n}\nprint(total)",
    "product = sp.prod(roots) * {n}\nprint(product)",
    "value = sp.simplify(total**2 - 2 * product + {n})\nprint(value)",
    "answer = value + {n}\nprint(answer)",
)
# The worst case for snapshots: a step costs as much as each step of its prefix.
HEAVY = tuple(
    f"import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - {{n}} * x + {depth}, x))" for depth in range(1, 9)
)
HOSTILE = (
    "import os\nos._exit(0)",
    "import ctypes\nctypes.string_at(0)",
    "import os\nos.fork()",
    "import os\nos.write(3, b'\\0\\0\\0\\2[]')",
    "import builtins\nbuiltins.LEAK = builtins.sum = None",
    "x = bytearray(10**10)",
    "import os\nos.kill(1, 9)",
    "raise SystemExit",
)
NUM_CANDIDATES, POOL_SIZE = 32, 12
Work = Callable[[ForkSandbox], Awaitable[None]]
Figures = dict[str, object]


# --- counting -------------------------------------------------------------------------------------------------


def cpu() -> float:
    """Of this process and of all below it that have been waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def sandbox_cpu(sandbox: ForkSandbox) -> float:
    """Of this process, the servers and all their children, ended and alive."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = sum(map(ticks_of, {pid for server_pid in sandbox.server_pids for pid in descendants(server_pid)}))
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def ticks_of(pid: int) -> int:
    """User and system, with those of its children that it has waited for; 0 once it has ended: its parent has them."""
    return sum(map(int, of_process(pid, "stat").rpartition(")")[2].split()[11:15]))


def of_process(pid: int, file: str) -> str:
    """What /proc says of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid: int) -> list[int]:
    children = of_process(pid, f"task/{pid}/children").split()
    return [pid, *(below for child in children for below in descendants(int(child)))]


def measured(work: Work, budget: SnapshotBudget, num_runs: int, before: Work | None = None) -> dict[str, float]:
    """Rates of ``work``, which does ``num_runs`` runs after ``before``; ending its snapshots counts."""

    async def run() -> tuple[float, float]:
        async with ForkSandbox(LIMITS, budget=budget) as sandbox:
            await sandbox.run([], TRIVIAL)
            if before:
                await before(sandbox)
            started, used = time.monotonic(), sandbox_cpu(sandbox)
            await work(sandbox)
            seconds = time.monotonic() - started
            await end_snapshots(sandbox)
            return seconds, sandbox_cpu(sandbox) - used

    return rates(num_runs, *asyncio.run(run()))


async def end_snapshots(sandbox: ForkSandbox) -> None:
    sandbox._snapshots.clear()
    least = 2 * len(sandbox.server_pids)
    while sum(len(descendants(pid)) for pid in sandbox.server_pids) > least:
        await asyncio.sleep(0.05)


def rates(num_runs: int, seconds: float, used: float) -> dict[str, float]:
    return {
        "runs/s": round(num_runs / seconds, 1),
        "runs/cpu_s": round(num_runs / max(used, 1e-9), 1),
        "cpu_ms": round(1000 * used / num_runs, 2),
    }


# --- work -----------------------------------------------------------------------------------------------------


def repeated(code: str, num_runs: int) -> Work:
    async def work(sandbox: ForkSandbox) -> None:
        outcomes = await asyncio.gather(*(sandbox.run([], code) for _ in range(num_runs)))
        assert all(outcome.status == "ok" for outcome in outcomes), outcomes

    return work


def candidates(steps: Sequence[str], depth: int) -> Work:
    """One search step: the candidates of the given depth, from 0, after its prefix."""

    async def work(sandbox: ForkSandbox) -> None:
        parents = prefix(steps, depth)
        codes = [steps[depth].format(n=n + 10) for n in range(NUM_CANDIDATES)]
        outcomes = await asyncio.gather(*(sandbox.run(parents, code) for code in codes))
        assert all(outcome.status == "ok" for outcome in outcomes), outcomes

    return work


def prefix(steps: Sequence[str], depth: int) -> list[str]:
    return [step.format(n=3) for step in steps[:depth]]


def search_down(steps: Sequence[str], depths: range) -> Work:
    """The search steps of a trajectory, one after the other; the prefix of each is run when the last has chosen it."""

    async def work(sandbox: ForkSandbox) -> None:
        for depth in depths:
            await candidates(steps, depth)(sandbox)
            await sandbox.run(prefix(steps, depth), steps[depth].format(n=3))

    return work


# --- baselines ------------------------------------------------------------------------------------------------


def subprocesses(code: str, num_runs: int) -> dict[str, float]:
    """(a)"""
    before, started = cpu(), time.monotonic()
    for _ in range(num_runs):
        subprocess.run([sys.executable, "-c", f"import numpy, sympy\n{code}"], capture_output=True, check=True)
    return rates(num_runs, time.monotonic() - started, cpu() - before)


def pooled(steps: Sequence[str], depths: range) -> dict[str, float]:
    """(b), one search step at each of ``depths``."""
    before, started = cpu(), time.monotonic()
    for depth in depths:
        with multiprocessing.get_context("fork").Pool(POOL_SIZE) as pool:
            tasks = [[*prefix(steps, depth), steps[depth].format(n=n + 10)] for n in range(NUM_CANDIDATES)]
            pool.map(replay, tasks, chunksize=1)
            pool.close()
            pool.join()
    return rates(NUM_CANDIDATES * len(depths), time.monotonic() - started, cpu() - before)


def replay(codes: list[str]) -> str:
    names: dict[str, object] = {}
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        for code in codes:
            exec(code, names)
    return output.getvalue()


def bare(work: Work, budget: SnapshotBudget, num_runs: int) -> dict[str, float]:
    isolated = server.SCRIPT
    server.SCRIPT = Path(__file__).with_name("bare_zygote.py")
    os.environ["RSTAR_SANDBOX_ALLOW_WEAK"] = "1"
    try:
        return measured(work, budget, num_runs)
    finally:
        server.SCRIPT = isolated
        del os.environ["RSTAR_SANDBOX_ALLOW_WEAK"]


def overhead(work: Work, budget: SnapshotBudget, num_runs: int, num_pairs: int) -> float:
    """Median over pairs of the CPU that isolation costs, as a factor."""
    pairs = ((bare(work, budget, num_runs), measured(work, budget, num_runs)) for _ in range(num_pairs))
    return round(statistics.median(with_["cpu_ms"] / without["cpu_ms"] for without, with_ in pairs), 2)


# --- parts ----------------------------------------------------------------------------------------------------


def rates_part() -> Figures:
    return {
        "trivial": measured(repeated(TRIVIAL, 400), NONE, 400),
        "trivial, (a)": subprocesses(TRIVIAL, 3),
        "solve": measured(repeated(SOLVE, 200), NONE, 200),
        "solve, (a)": subprocesses(SOLVE, 3),
    }


def trajectory_part() -> Figures:
    figures: Figures = {}
    for name, steps in (("typical", TYPICAL), ("heavy", HEAVY)):
        last = len(steps) - 1
        way, end = range(len(steps)), range(last, last + 1)
        ours = measured(search_down(steps, way), KEPT, NUM_CANDIDATES * len(steps))
        ours_last = measured(candidates(steps, last), KEPT, NUM_CANDIDATES, before=down_to(steps, last))
        theirs, theirs_last = pooled(steps, way), pooled(steps, end)
        figures |= {f"{name}, 8 steps": ours, f"{name}, 8 steps, (b)": theirs}
        figures |= {f"{name}, 8th step": ours_last, f"{name}, 8th step, (b)": theirs_last}
        figures[f"{name}, 8 steps, (b) / ours"] = round(theirs["cpu_ms"] / ours["cpu_ms"], 1)
        figures[f"{name}, 8th step, (b) / ours"] = round(theirs_last["cpu_ms"] / ours_last["cpu_ms"], 1)
    return figures


def down_to(steps: Sequence[str], depth: int) -> Work:
    async def work(sandbox: ForkSandbox) -> None:
        for above in range(depth):
            await sandbox.run(prefix(steps, above), steps[above].format(n=3))

    return work


def isolation_part(num_pairs: int = 3) -> Figures:
    every = range(len(TYPICAL))
    return {
        "isolation, trivial": overhead(repeated(TRIVIAL, 300), NONE, 300, num_pairs),
        "isolation, solve": overhead(repeated(SOLVE, 100), NONE, 100, num_pairs),
        "isolation, typical, 8 steps": overhead(
            search_down(TYPICAL, every), KEPT, NUM_CANDIDATES * len(every), num_pairs
        ),
    }


def soak_part(seconds: float = 40.0, num_at_once: int = 4) -> Figures:
    """Small trees whose results are known, one run in five hostile."""
    return asyncio.run(soak(seconds, num_at_once))


async def soak(seconds: float, num_at_once: int) -> Figures:
    latencies: list[float] = []
    wrong: list[str] = []
    num_hostile = 0

    async def trees(sandbox: ForkSandbox, first: int, until: float) -> None:
        nonlocal num_hostile
        number = first
        while time.monotonic() < until:
            root, hostile = f"x = {number}\nprint(x)", HOSTILE[number % len(HOSTILE)]
            for parents, code, right in (
                ([], root, f"{number}\n"),
                ([root], "print(x + 1, sum([x]))", f"{number + 1} {number}\n"),
                ([root], f"import sympy\ny = sympy.Integer({number})\nprint(y * 2)", f"{2 * number}\n"),
                ([root], "x *= 2\nprint(x)", f"{2 * number}\n"),
            ):
                started = time.monotonic()
                outcome = await sandbox.run(parents, code)
                latencies.append(time.monotonic() - started)
                if outcome.stdout != right:
                    wrong.append(f"{code!r}: {outcome}")
            await sandbox.run([root], hostile)
            num_hostile += 1
            number += num_at_once

    async with ForkSandbox(LIMITS, budget=SnapshotBudget(64, 1024)) as sandbox:
        await sandbox.run([], TRIVIAL)
        until = time.monotonic() + seconds
        await asyncio.gather(*(trees(sandbox, first, until) for first in range(num_at_once)))
    for line in wrong[:5]:
        print(line, file=sys.stderr)
    percentiles = statistics.quantiles(latencies, n=100)
    return {
        "soak": {
            "runs": len(latencies) + num_hostile,
            "hostile": num_hostile,
            "wrong": len(wrong),
            "runs/s": round((len(latencies) + num_hostile) / seconds, 1),
            "p50_ms": round(1000 * percentiles[49], 1),
            "p99_ms": round(1000 * percentiles[98], 1),
            "max_ms": round(1000 * max(latencies), 1),
        }
    }


PARTS: dict[str, Callable[[], Figures]] = {
    "rates": rates_part,
    "trajectory": trajectory_part,
    "isolation": isolation_part,
    "soak": soak_part,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; default: all")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    figures: Figures = {}
    for name in chosen:
        found = PARTS[name]()
        for line, value in found.items():
            print(f"{line:30} {value}", flush=True)
        figures |= found
    figures["load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
