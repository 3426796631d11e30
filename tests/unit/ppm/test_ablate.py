"""The ablation trains all rewards from one round and measures them on problems that none of them was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rstar_core.config import Params, load_params
from rstar_core.curation.pairs import split_by_problem
from rstar_core.errors import UserError
from rstar_core.io import write_pairs, write_problems, write_trajectories
from rstar_core.policy.model import load_tokenizer
from rstar_core.ppm.model import new_ppm, save_ppm
from rstar_core.shards import write_trees
from rstar_core.store.publishing import publish_folder
from rstar_core.types import Node, PreferencePair, Problem, SearchTree, Step, StepKind, Terminal, Trajectory
from tasks.commands.ablate import ablate, table

ROOT = Path(__file__).parents[3]
PROBLEMS = [Problem(f"p{number}", "What is 2 + 3?", "5", 1, "toy", "MIT") for number in range(20)]
RIGHT, WRONG = (
    (Step(StepKind.CODE_END, f"n = 2 {sign} 3\nprint(n)", f"{value}\n"), Step(StepKind.ANSWER, f"\\boxed{{{value}}}"))
    for sign, value in (("+", 5), ("*", 6))
)


def tree(problem_id: str) -> SearchTree:
    nodes = [Node(-1, None, 0.0, 2, 0.0)]
    for steps, reward in ((RIGHT, 1.0), (WRONG, -1.0)):
        nodes.append(Node(0, steps[0], 0.0, 1, reward))
        nodes.append(Node(len(nodes) - 1, steps[1], 0.0, 1, reward, Terminal.ANSWERED, "5", reward))
    return SearchTree(problem_id, "r1", 0, tuple(nodes), 2, 10)


def trajectory(problem_id: str, steps: tuple[Step, ...], is_correct: bool) -> Trajectory:
    return Trajectory(problem_id, "r1", 0, 2, steps, "5", (1.0, 1.0), 1.0, is_correct)


@pytest.fixture
def params() -> Params:
    made = load_params(ROOT / "params.yaml")
    training = made.train_ppm.training.model_copy(update={"epochs": 2, "max_length": 128})
    return made.model_copy(
        update={
            "train_ppm": made.train_ppm.model_copy(update={"training": training, "frozen_layers": 1, "min_updates": 0})
        }
    )


@pytest.fixture
def a_round(policy: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts" / "r1"
    write_problems("artifacts/problems/train.parquet", PROBLEMS)
    shutil.copytree(policy, folder / "policy")
    with publish_folder(folder / "ppm") as ppm:
        save_ppm(new_ppm(policy, "float32"), load_tokenizer(policy), ppm)
    ids = [problem.id for problem in PROBLEMS]
    with publish_folder(folder / "trees") as trees:
        write_trees(trees, map(tree, ids))
    both = [trajectory(one, *which) for one in ids for which in ((RIGHT, True), (WRONG, False))]
    write_trajectories(folder / "trajectories" / "trajectories.parquet", both)
    held_out = split_by_problem(ids, params.curate.validation_fraction, params.seed)
    for name, some in (("train", set(ids) - held_out), ("validation", held_out)):
        step_pairs = [PreferencePair(one, "r1/0/0", (), RIGHT[:1], WRONG[:1]) for one in sorted(some)]
        final_pairs = [PreferencePair(one, "r1/final", (), RIGHT, WRONG) for one in sorted(some)]
        write_pairs(folder / "pairs" / f"{name}.parquet", step_pairs + final_pairs)
    return folder


@pytest.mark.slow
def test_rewards_that_can_learn_it_find_the_right_solution(a_round: Path, params: Params) -> None:
    found = ablate("r1", params)
    assert list(found) == ["ORM", "PQM", "PPM", "any"]
    assert found["any"]["best_of_n"] == 0.5
    assert all(0 <= found[name][what] <= 1 for name in ("ORM", "PQM", "PPM") for what in ("step", "final", "best_of_n"))  # type: ignore[operator]
    assert found["PQM"]["best_of_n"] == 1, "one word tells right from wrong"
    assert "best of n" in table(found) and (a_round / "ablation.json").exists()
    assert not list(Path("journal").glob("*")), "checkpoints are gone"


def test_a_round_that_has_not_run_is_one_line(a_round: Path, params: Params) -> None:
    with pytest.raises(UserError, match=r"artifacts/r2/ppm: not found; run the round first: dvc repro summarize@r2"):
        ablate("r2", params)
