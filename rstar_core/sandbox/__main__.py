"""``python -m rstar_core.sandbox``: run snippets from a file, or say what isolation this machine gives.

``--jsonl FILE`` runs each line ``{"name", "code"}`` and prints, in the order of the lines, one JSON line each: name,
status, stdout, error, seconds, cpu_seconds, raised (type, message and line of an exception, or null), signal (that
ended it, or 0), peak_mib. ``--tree`` runs each as a step after a first one. ``--probe`` prints the level in force.
Exit codes: 0 done, 2 the user can mend it (one line on stderr).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstar_core.config import SandboxLimits, load_params
from rstar_core.errors import UserError
from rstar_core.sandbox.base import Outcome
from rstar_core.sandbox.load import open_sandbox

FIRST_STEP = "import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - 4, x))"
Snippet = tuple[str, str]  # name, code


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rstar_core.sandbox", description=(__doc__ or "").split("\n\n")[1])
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--jsonl", type=Path, metavar="FILE", help="lines of name and code to run")
    wanted.add_argument("--probe", action="store_true", help="print the level in force")
    parser.add_argument("--tree", action="store_true", help="run each snippet as a step after a first one")
    parser.add_argument("--params", default="params.yaml", metavar="FILE", help="limits: its section sandbox")
    flags = parser.parse_args(argv)
    try:
        limits = load_params(flags.params).sandbox
        parents = [FIRST_STEP] if flags.tree else []
        asyncio.run(probe(limits) if flags.probe else run_all(limits, parents, list(read_snippets(flags.jsonl))))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def probe(limits: SandboxLimits) -> None:
    async with open_sandbox(limits, num_servers=1) as sandbox:
        print(sandbox.description)


async def run_all(limits: SandboxLimits, parents: Sequence[str], snippets: Sequence[Snippet]) -> None:
    """Many at a time; each line is printed as soon as those before it are."""
    async with open_sandbox(limits) as sandbox, asyncio.TaskGroup() as group:
        runs = [(name, group.create_task(sandbox.run(parents, code))) for name, code in snippets]
        for name, run in runs:
            print(json.dumps(row(name, await run)), flush=True)


def row(name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": name,
        "status": outcome.status,
        "stdout": outcome.stdout,
        "error": outcome.error,
        "seconds": round(outcome.seconds, 6),
        "cpu_seconds": round(outcome.cpu_seconds, 6),
        "raised": asdict(outcome.raised) if outcome.raised else None,
        "signal": outcome.signal,
        "peak_mib": round(outcome.peak_mib, 1),
    }


def read_snippets(path: Path) -> Iterator[Snippet]:
    """The snippets of a JSONL file.

    Raises:
        UserError: there is no such file, or a line is no snippet.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _snippet(f"{path}:{number}", line)


def _snippet(where: str, line: str) -> Snippet:
    try:
        match json.loads(line):
            case {"name": str(name), "code": str(code)}:
                return name, code
    except (ValueError, RecursionError):
        pass
    raise UserError(f'{where}: not a snippet; a line is {{"name": "...", "code": "..."}}')


if __name__ == "__main__":
    sys.exit(main())
