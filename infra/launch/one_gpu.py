"""One round on one GPU: SmolLM2-135M learns GSM8K; then the table, and what each stage took.

    make env smollm2
    .venv/bin/python infra/launch/one_gpu.py TRAIN TEST                # on a GPU, where nobody has run it yet
    .venv/bin/python infra/launch/one_gpu.py TRAIN TEST --share 0.01   # the same on very little, for two cores

TRAIN and TEST are GSM8K's files, JSONL (.gz or not) with rows of problem, answer and solution. `params.yaml` becomes
the profile `smollm2` with the numbers below; `git checkout params.yaml` brings the default back.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
NUM_DEMONSTRATIONS, NUM_TRAINING, NUM_BENCHMARK = 4_000, 300, 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of all numbers of problems (default: 1)")
    given = parser.parse_args()
    for path in (given.train, given.test):
        if not path.is_file():
            parser.error(f"{path}: no such file")
    params = yaml.safe_load((ROOT / "infra/profiles/smollm2.yaml").read_text(encoding="utf-8"))
    change(params, given.train.resolve(), given.test.resolve(), given.share)
    (ROOT / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "flows.evolve"], cwd=ROOT).returncode
    print(taken())  # where the gate has shut, too: a few problems make no pairs
    return done


def change(params: dict[str, Any], train: Path, test: Path, share: float) -> None:
    """More of everything than two cores have time for."""
    import torch

    counts = {
        "demonstrations": (NUM_DEMONSTRATIONS, train, 0),
        "train": (NUM_TRAINING, train, NUM_DEMONSTRATIONS),
        "benchmark": (NUM_BENCHMARK, test, 0),
    }
    for source in params["ingest"]["sources"]:
        number, path, offset = counts[source["split"]]
        source.update(path=str(path), offset=offset, limit=max(2, round(number * share)))
    params["engine"]["dtype"] = "bfloat16" if torch.cuda.is_available() else "float32"
    is_small = share < 0.1
    for training in (params["bootstrap"]["model"]["training"], params["train_policy"]["training"]):
        training.update(epochs=1, batch_size=2 if is_small else 16)
    size = 2 if is_small else 8
    params["rounds"]["r1"].update(num_candidates=size, num_rollouts=size)
    params["evaluate"].update(num_trees=2 if is_small else 4, num_candidates=size, num_rollouts=size)


def taken() -> str:
    """Seconds and rates of each stage."""
    found = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("artifacts/*/timings.json"))]
    return "\n".join(f"{stage}: {values}" for its in found for stage, values in its.items())


if __name__ == "__main__":
    sys.exit(main())
