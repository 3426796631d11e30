"""Memory of publishing a round from its journal and of reading it again, by the number of trees.

``python -m benchmarks.publishing --trees 10000 100000`` prints for each number the largest resident size of a process
that publishes so many trees and of one that reads them, and the ratio of the largest to the smallest number's. Each
step is a process of its own. The journal is filled without syncs: that is not what is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.journal import KEY
from rstar_core.journal.folder import FolderJournal
from rstar_core.mcts.recording import record, recorded_trees
from rstar_core.shards import stream_trees, write_trees
from rstar_core.types import Candidate, Generation, Node, SearchTree, Step, StepKind

NUM_NODES = 8


def tree(number: int) -> SearchTree:
    """As large as a tree of the embedded default: 8 nodes, 8 candidates at each of 2 expansions."""
    step = Step(StepKind.CODE, f"n = {number}\nprint(n)", f"{number}\n")
    nodes = (Node(-1, None, 0.0, 8, 1.0), *(Node(0, step, 0.0, 1, 1.0) for _ in range(NUM_NODES)))
    candidate = Candidate(f"n = {number}", 8, tuple(range(8)), tuple(map(float, range(8))))
    generations = tuple(Generation(place, (candidate,) * 8, (0.0,) * 8) for place in range(2))
    return SearchTree(f"problem {number}", "r1", 0, nodes, 8, 64, generations)


def fill(folder: Path, count: int) -> None:
    os.fdatasync = lambda descriptor: None  # type: ignore[assignment]
    journal = FolderJournal(folder / "journal", KEY)
    for number in range(count):
        journal.append(str(number), record(tree(number), "none"))
    journal.close()


def publish(folder: Path, count: int) -> None:
    journal = FolderJournal(folder / "journal", KEY)
    assert write_trees(folder / "trees", recorded_trees(journal, map(str, range(count)))) == count


def read(folder: Path, count: int) -> None:
    assert sum(1 for _ in stream_trees(folder / "trees")) == count


def nothing(folder: Path, count: int) -> None:
    """What the imports alone take."""


STEPS: dict[str, Callable[[Path, int], None]] = {"nothing": nothing, "fill": fill, "publish": publish, "read": read}


def measured(step: str, folder: str, count: int) -> tuple[float, float]:
    """MiB and seconds of a step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.publishing", "--step", step, "--folder", folder, "--trees", str(count)]
    mib, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(mib), float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        started = time.monotonic()
        STEPS[given.step](given.folder, given.trees[0])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - started)
        return
    found: dict[str, list[float]] = {}
    for count in given.trees:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            for step in STEPS:
                mib, seconds = measured(step, folder, count)
                found.setdefault(step, []).append(mib)
                print(f"{count} trees, {step}: {mib:.0f} MiB, {seconds:.0f} s", flush=True)
    for step in ("publish", "read"):
        print(f"{step}: {found[step][-1] / found[step][0]:.2f} times the memory for {given.trees[-1]} trees")


if __name__ == "__main__":
    main()
