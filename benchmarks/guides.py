"""Does a PPM find solutions with fewer rollouts than the terminal reward alone? Coverage by rollouts, in one run.

    python -m benchmarks.guides r3 [every]

Grows trees of a round's training problems (one in ``every``, 4 unless stated) with the policy, PPM and search that the
round had, once with each guide and each budget, from the same seeds. The terminal reward is the baseline.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from rstar_core.config import load_params
from rstar_core.io import read_problems, write_problems
from rstar_core.reports.markdown import aligned
from tasks.synthesize import synthesize

GUIDES = ("terminal", "ppm")
BUDGETS = (1, 2, 4, 8)


def main(round_id: str, every: int) -> None:
    params = load_params()
    before = Path("artifacts") / params.rounds[round_id].from_
    problems = read_problems("artifacts/problems/train.parquet")[::every]
    search = params.search.model_copy(update={"settled_after": None})
    found: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(sys.stdout):
        os.environ["RSTAR_JOURNAL"] = f"{scratch}/journal"
        write_problems(Path(scratch) / "problems.parquet", problems)
        for guide in GUIDES:
            for budget in BUDGETS:
                its = {"guide": guide, "num_rollouts": budget, "extra_rollouts": 0, "mixed_rollouts": 0, "num_trees": 1}
                found[guide, budget] = synthesize(
                    round_id=round_id,
                    problems=Path(scratch) / "problems.parquet",
                    policy=before / "policy",
                    ppm=before / "ppm",
                    trees=Path(scratch) / f"{guide}-{budget}",
                    seed=params.seed,
                    engine=params.engine,
                    search=search,
                    sandbox=params.sandbox,
                    round=params.rounds[round_id].model_copy(update=its),
                )
    rows = [
        [budget, *(f"{found[guide, budget]['coverage']['all']:.3f}" for guide in GUIDES)]
        + [found[guide, budget]["num_tokens"] for guide in GUIDES]
        for budget in BUDGETS
    ]
    header = ["rollouts", *(f"coverage, {guide}" for guide in GUIDES), *(f"tokens, {guide}" for guide in GUIDES)]
    print(f"\n{round_id}, {len(problems)} problems\n{aligned([header, *rows])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guides", description=__doc__.partition("\n")[0])
    parser.add_argument("round", help="a finished round")
    parser.add_argument("every", type=int, nargs="?", default=4, help="one problem in so many (default: 4)")
    given = parser.parse_args()
    main(given.round, given.every)
