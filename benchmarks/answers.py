"""How far the grader and math-verify alone agree with labelled pairs, by category, and what a comparison costs.

``python -m benchmarks.answers [--pairs FILE ...] [--golds FILE] [--mix 1000]``. A pair is a line with ``gold``,
``answer``, ``equal`` and ``category``; without ``--pairs`` the project's own are taken. Baseline: ``verify(parse(gold),
parse(answer))`` of math-verify as it comes, in the same kind of sandbox with the same limits; undecided counts as not
equal, for both. The mix for the cost is made from short gold answers (a line with ``answer`` each; without ``--golds``
those of the pairs): 30 % copied, 30 % in another spelling, 25 % with another digit, 15 % the answer to another problem.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.answers.equivalence import Rule, Verdict, cheap_ruling, equivalent
from rstar_core.answers.warm import LIMITS, GraderSandbox
from rstar_core.sandbox.base import Outcome, Sandbox, Status
from rstar_core.sandbox.load import open_sandbox

OWN_PAIRS = Path(__file__).parents[1] / "tests" / "unit" / "answers" / "pairs.jsonl"
MAX_SHORT = 40
NUM_BASELINE = 150  # pairs of the mix that the baseline is timed on, too
ALONE = """
from math_verify import parse, verify
gold, answer = (parse(f"${{text}}$", parsing_timeout=None) for text in ({gold!r}, {answer!r}))
print(verify(gold, answer, timeout_seconds=None))
"""
Pair = tuple[str, str]


@dataclass
class Score:
    """Counts of one grader in one category."""

    pairs: int = 0
    right: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    def count(self, says: bool, is_equal: bool) -> None:
        self.pairs += 1
        self.right += says == is_equal
        self.false_positives += says and not is_equal
        self.false_negatives += is_equal and not says


async def alone(sandbox: Sandbox, gold: str, answer: str) -> bool:
    outcome = await sandbox.run([], ALONE.format(gold=gold, answer=answer))
    return outcome.status is Status.OK and outcome.stdout == "True\n"


async def ours(sandbox: Sandbox, gold: str, answer: str) -> bool:
    return (await equivalent(gold, answer, sandbox)).verdict is Verdict.EQUAL


# --- agreement ------------------------------------------------------------------------------------------------


async def agreement(name: str, rows: Sequence[dict[str, Any]], graders: Sandbox, bare: Sandbox) -> dict[str, Any]:
    table: dict[str, tuple[Score, Score]] = defaultdict(lambda: (Score(), Score()))
    misses = []
    for row in rows:
        pair, category = (row["gold"], row["answer"]), row.get("category", row.get("cat", ""))
        mine, theirs = await ours(graders, *pair), await alone(bare, *pair)
        for one in (category, "all"):
            table[one][0].count(mine, row["equal"])
            table[one][1].count(theirs, row["equal"])
        if mine != row["equal"]:
            misses.append(f"{pair[0][:40]} | {pair[1][:40]} is {row['equal']}")
    print(f"\n{name}: grader against math-verify alone\n")
    print("| category | pairs | agrees | false + | false - | alone agrees | false + | false - |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for category, (mine_, theirs_) in table.items():
        print(f"| {category} | {mine_.pairs} | {_cells(mine_)} | {_cells(theirs_)} |")
    print("\n".join(["", *misses]))
    mine_, theirs_ = table["all"]
    return {"ours": vars(mine_), "math-verify": vars(theirs_)}


def _cells(score: Score) -> str:
    return f"{score.right / score.pairs:.3f} | {score.false_positives} | {score.false_negatives}"


# --- cost -----------------------------------------------------------------------------------------------------


def make_mix(golds: Sequence[str], size: int, seed: int = 1) -> list[Pair]:
    drawn = random.Random(seed)
    short = [gold for gold in golds if 0 < len(gold) <= MAX_SHORT]
    return [(gold, _answer(drawn, gold, short)) for gold in drawn.choices(short, k=size)]


def _answer(drawn: random.Random, gold: str, others: Sequence[str]) -> str:
    luck = drawn.random()
    if luck < 0.3:
        return gold
    if luck < 0.6:
        return _respelled(drawn, gold)
    places = [place for place, character in enumerate(gold) if character.isascii() and character.isdigit()]
    if luck < 0.85 and places:
        place = drawn.choice(places)
        return gold[:place] + str((int(gold[place]) + drawn.randint(1, 9)) % 10) + gold[place + 1 :]
    return drawn.choice(others)


def _respelled(drawn: random.Random, gold: str) -> str:
    spellings: list[Callable[[str], str]] = [
        lambda text: f"\\boxed{{{text}}}",
        lambda text: f"${text.strip('$')}$",
        lambda text: text.replace("\\frac", "\\dfrac"),
        lambda text: text.replace("(", "\\left(").replace(")", "\\right)"),
        lambda text: text.replace("+", " + ").replace(",", ", "),
        lambda text: f"{text}.",
    ]
    return drawn.choice(spellings)(gold)


async def cost(golds: Sequence[str], size: int, graders: Sandbox, bare: Sandbox) -> dict[str, Any]:
    mix = make_mix(golds, size)
    rules = [cheap_ruling(*pair) for pair in mix]
    exact = [rule for rule in rules if rule and rule.rule is Rule.EXACT]
    some = mix[:NUM_BASELINE]
    mine, mine_cpu = await _seconds(mix, ours, Metered(graders))
    theirs, theirs_cpu = await _seconds(some, alone, Metered(bare))
    figures = {
        "pairs": size,
        "copied": round(len(exact) / size, 3),
        "asks math-verify": round(rules.count(None) / size, 3),
        "p50, p99, max: wall ms": [_percentile(mine, share) for share in (0.5, 0.99, 1.0)],
        "p50, p99, max: CPU ms": [_percentile(mine_cpu, share) for share in (0.5, 0.99, 1.0)],
        "alone: wall ms": [_percentile(theirs, share) for share in (0.5, 0.99, 1.0)],
        "alone: CPU ms": [_percentile(theirs_cpu, share) for share in (0.5, 0.99, 1.0)],
        "mean CPU, alone / grader": round(sum(theirs_cpu) / len(some) / (sum(mine_cpu) / size), 1),
    }
    print("\n".join(f"{name:24} {value}" for name, value in figures.items()))
    return figures


class Metered:
    """A sandbox that adds up the processor time of its runs: what counts where others use the machine, too."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.cpu_seconds = 0.0

    @property
    def level(self) -> str:
        return self._sandbox.level

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        outcome = await self._sandbox.run(parents, code)
        self.cpu_seconds += outcome.cpu_seconds
        return outcome


async def _seconds(
    pairs: Sequence[Pair], grade: Callable[[Sandbox, str, str], Awaitable[bool]], sandbox: Metered
) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each pair."""
    await grade(sandbox, r"\sin x", "x")  # what starts at the first ask
    wall, cpu = [], []
    for pair in pairs:
        started, used = time.perf_counter(), time.process_time() + sandbox.cpu_seconds
        await grade(sandbox, *pair)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() + sandbox.cpu_seconds - used)
    return wall, cpu


def _percentile(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    return round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 3)


# --- all of it ------------------------------------------------------------------------------------------------


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    golds: list[str] = []
    async with GraderSandbox() as graders, open_sandbox(LIMITS, 1) as bare:
        for path in arguments.pairs or [OWN_PAIRS]:
            rows = _rows(path)
            golds += [row["gold"] for row in rows]
            figures[path.name] = await agreement(path.name, rows, graders, bare)
        if arguments.golds:
            golds = [row["answer"] for row in _rows(arguments.golds)]
        figures["cost"] = await cost(golds, arguments.mix, graders, bare)
    figures["load"] = round(os.getloadavg()[0], 1)
    return figures


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=Path, action="append", help="labelled pairs (JSONL); may be given again")
    parser.add_argument("--golds", type=Path, help="gold answers (JSONL) for the mix")
    parser.add_argument("--mix", type=int, default=1000, help="pairs of the mix")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
