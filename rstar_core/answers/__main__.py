"""``python -m rstar_core.answers --jsonl FILE``: grade pairs of answers from the command line."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from fractions import Fraction
from pathlib import Path

from rstar_core.answers.equivalence import Verdict, equivalent
from rstar_core.answers.precision import given_tolerance
from rstar_core.answers.warm import GraderSandbox
from rstar_core.errors import UserError

SAYS = {Verdict.EQUAL: True, Verdict.DIFFERENT: False, Verdict.UNDECIDED: None}


Line = tuple[str, str, Fraction | None]


def read_pairs(path: Path) -> list[Line]:
    """The pairs of a JSONL file: text fields ``gold``, ``answer`` and, where the problem states it, ``tolerance``.

    Other fields are ignored.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a JSONL file in UTF-8") from None
    return [_pair(f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]


def _pair(where: str, line: str) -> Line:
    try:
        match json.loads(line):
            case {"gold": str(gold), "answer": str(answer), "tolerance": str(text)} if given_tolerance(text):
                return gold, answer, given_tolerance(text)
            case {"gold": str(gold), "answer": str(answer), **rest} if "tolerance" not in rest:
                return gold, answer, None
    except (ValueError, RecursionError):
        pass
    raise UserError(f'{where}: not {{"gold": text, "answer": text, "tolerance": "0.01" or none}}; correct the line')


async def grade(pairs: list[Line]) -> None:
    """One line for each pair, in order: equal (true, false, or null where undecided), rule, seconds."""
    async with GraderSandbox() as sandbox:
        for gold, answer, tolerance in pairs:
            started = time.perf_counter()
            ruling = await equivalent(gold, answer, sandbox, tolerance)
            seconds = round(time.perf_counter() - started, 6)
            print(json.dumps({"equal": SAYS[ruling.verdict], "rule": ruling.rule, "seconds": seconds}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m rstar_core.answers", description=grade.__doc__)
    parser.add_argument("--jsonl", type=Path, required=True, help='lines {"gold": "...", "answer": "..."}')
    try:
        asyncio.run(grade(read_pairs(parser.parse_args().jsonl)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
