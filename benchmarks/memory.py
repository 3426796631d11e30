"""Memory of a round's stages that read and write trees, by their number.

``python -m benchmarks.memory --trees 1000 100000`` prints for each number the largest resident size of a process that
publishes so many trees from their journal, of one that reads them again, of the stages `verify` and `curate` on them,
of what `train_ppm` reads before it trains and of what `evaluate` makes of as many, the ratio of the last to the first
number's, and the bytes of a tree in the journal and in the shards. Each step is a process of its own. The journal is
filled without syncs: that is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.journal import KEY
from rstar_core.answers.equivalence import Grader
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import load_params
from rstar_core.evaluation.accuracies import accuracies
from rstar_core.evaluation.marking import MethodAnswers, method_answers, record_key
from rstar_core.evaluation.methods import FLAT
from rstar_core.io import write_pairs, write_predictions, write_problems, write_sft_examples
from rstar_core.journal.folder import FolderJournal
from rstar_core.mcts.recording import record, recorded_trees
from rstar_core.policy.tokenizer import train_tokenizer
from rstar_core.shards import stream_trees, write_trees
from rstar_core.training.preferences import num_pairs
from rstar_core.types import Node, Problem, SearchTree, Step, StepKind, Terminal
from tasks.curate import curate
from tasks.train_ppm import Inputs
from tasks.verify import verify

NUM_CANDIDATES = 8


def tree(number: int) -> SearchTree:
    """As large as a tree of the embedded default: two programs with four answers each, one of them right."""
    nodes = [Node(-1, None, 0.0, NUM_CANDIDATES, 0.0)]
    for program in range(2):
        step = Step(StepKind.CODE_END, f"n = {number} + {program}\nprint(n)", f"{number + program}\n")
        nodes.append(Node(0, step, 0.0, NUM_CANDIDATES // 2, 2.0 - 4 * program))
        parent = len(nodes) - 1
        for wrong in range(NUM_CANDIDATES // 2):
            answer = str(number + program + wrong)
            reward = 1.0 if answer == str(number) else -1.0
            ending = Step(StepKind.ANSWER, f"The answer is \\boxed{{{answer}}}.")
            nodes.append(Node(parent, ending, 0.0, 1, reward, Terminal.ANSWERED, answer, reward))
    return SearchTree(problem_id(number), "r1", 0, tuple(nodes), NUM_CANDIDATES, 64)


def problem_id(number: int) -> str:
    return f"problem {number}"


def fill(folder: Path, count: int) -> None:
    os.fdatasync = lambda descriptor: None  # type: ignore[assignment]
    journal = FolderJournal(folder / "journal", KEY)
    for number in range(count):
        journal.append(key(number), record(tree(number), "none"))
    journal.close()


def key(number: int) -> str:
    return record_key(FLAT, problem_id(number), 0)


def publish(folder: Path, count: int) -> None:
    journal = FolderJournal(folder / "journal", KEY)
    assert write_trees(folder / "trees", recorded_trees(journal, map(key, range(count)))) == count


def read(folder: Path, count: int) -> None:
    assert sum(1 for _ in stream_trees(folder / "trees")) == count


def problems(count: int) -> Iterator[Problem]:
    return (Problem(problem_id(one), f"Which is {one}?", str(one), 1, "made", "MIT") for one in range(count))


def verify_them(folder: Path, count: int) -> None:
    params = load_params()
    write_problems(folder / "problems.parquet", problems(count))
    inputs = {"problems": folder / "problems.parquet", "trees": folder / "trees"}
    verify(round_id="r1", **inputs, trajectories=folder / "trajectories", sandbox=params.sandbox, verify=params.verify)


def curate_them(folder: Path, count: int) -> None:
    params = load_params()
    inputs = {"problems": folder / "problems.parquet", "trees": folder / "trees"}
    earlier = {"earlier_sft": folder / "earlier sft", "earlier_pairs": folder / "earlier pairs"}
    write_sft_examples(earlier["earlier_sft"] / "train.parquet", [])
    for name in ("train", "validation"):
        write_pairs(earlier["earlier_pairs"] / f"{name}.parquet", [])
    made = {"trajectories": folder / "trajectories", "sft": folder / "sft", "pairs": folder / "pairs"}
    metrics = curate(round_id="r1", **inputs, **earlier, **made, seed=params.seed, curate=params.curate)
    assert metrics["num_pairs"] > count and metrics["num_sft"] > count // 2


def encode_them(folder: Path, count: int) -> None:
    """What train_ppm does before it trains: the pairs of all trees as token ids, on disk, and a look at each."""
    params = load_params()
    train_tokenizer((problem.question.text for problem in problems(256)), 300, 512).save_pretrained(folder / "policy")
    inputs = Inputs("r1", folder / "problems.parquet", folder / "policy", folder / "pairs", 0, params.train_ppm)
    assert num_pairs(inputs.nodes("train", folder / "scratch")) > count // 2


def answer_them(folder: Path, count: int) -> None:
    """What evaluate does when its searches have ended."""
    answers = asyncio.run(marked(FolderJournal(folder / "journal", KEY), count))
    write_predictions(folder / "predictions.parquet", answers.predictions)
    assert accuracies(answers.predictions)["flat_pass@K"]["all"] == 1.0


async def marked(journal: FolderJournal, count: int) -> MethodAnswers:
    async with GraderSandbox() as graders:
        return await method_answers(FLAT, list(problems(count)), 1, journal, Grader(graders))


def nothing(folder: Path, count: int) -> None:
    """What the imports alone take."""


STEPS: dict[str, Callable[[Path, int], None]] = {
    "nothing": nothing,
    "fill": fill,
    "publish": publish,
    "read": read,
    "verify": verify_them,
    "curate": curate_them,
    "train_ppm": encode_them,
    "evaluate": answer_them,
}


def measured(step: str, folder: str, count: int) -> tuple[float, float]:
    """MiB and seconds of a step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--step", step, "--folder", folder, "--trees", str(count)]
    mib, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(mib), float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, nargs="+", default=[1_000, 100_000])
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
        Path("run").mkdir(exist_ok=True)  # which git ignores
        with tempfile.TemporaryDirectory(dir="run") as folder:
            for step in STEPS:
                mib, seconds = measured(step, folder, count)
                found.setdefault(step, []).append(mib)
                print(f"{count} trees, {step}: {mib:.0f} MiB, {seconds:.0f} s", flush=True)
            for what in ("journal", "trees"):
                size = sum(file.stat().st_size for file in (Path(folder) / what).rglob("*") if file.is_file())
                print(f"{count} trees, {what}: {size / count:.0f} bytes a tree", flush=True)
    for step in ("publish", "read", "verify", "curate", "train_ppm", "evaluate"):
        print(f"{step}: {found[step][-1] / found[step][0]:.2f} times the memory for {given.trees[-1]} trees")


if __name__ == "__main__":
    main()
