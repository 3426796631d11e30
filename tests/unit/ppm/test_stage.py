"""The stage train_ppm: a folder that loads, a curve, metrics; and a round without pairs is an ordinary one."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import Seed, TrainPpm
from rstar_core.errors import UserError
from rstar_core.io import write_pairs, write_problems
from rstar_core.ppm.model import is_null_ppm, load_ppm
from rstar_core.types import PreferencePair, Problem, Step, StepKind
from tasks.train_ppm import train_ppm
from tests.unit.rounds import ROUND

pytestmark = pytest.mark.slow  # each trains a PPM and its control

SECTION = TrainPpm.model_validate(
    {
        "training": {
            **{"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "schedule": "linear"},
            **{"warmup_ratio": 0.0, "weight_decay": 0.0, "max_length": 128, "max_left_out": 0.2},
        },
        "token_weight": 0.5,
        "lm_weight": 0.5,
        "extra_layers": 1,
        "frozen_layers": 1,
        "min_updates": 0,
        "loss_scale": 2.0,
        "control": 1.0,
    }
)


def pair(number: int) -> PreferencePair:
    good, bad = ((Step(StepKind.CODE, f"n = n {sign} 2"),) for sign in "*+")
    return PreferencePair(f"p{number}", "0/0", (), good, bad)


def run(
    folder: Path,
    policy: Path,
    train: list[PreferencePair],
    validation: list[PreferencePair],
    has_ppm: bool = True,
) -> dict[str, Any]:
    write_problems(
        folder / "problems.parquet", [Problem(f"p{n}", "What is 2?", "2", 1, "toy", "MIT") for n in range(9)]
    )
    write_pairs(folder / "pairs" / "train.parquet", train)
    write_pairs(folder / "pairs" / "validation.parquet", validation)
    return train_ppm(
        round_id="r1",
        problems=folder / "problems.parquet",
        policy=policy,
        pairs=folder / "pairs",
        ppm=folder / "ppm",
        curve=folder / "curves" / "train_ppm.csv",
        seed=Seed(1),
        train_ppm=SECTION,
        round=ROUND.model_copy(update={"has_ppm": has_ppm}),
    )


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves" / "train_ppm.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_round_that_is_to_have_no_ppm_trains_none(policy: Path, tmp_path: Path) -> None:
    metrics = run(tmp_path, policy, [*map(pair, range(6))], [pair(7)], has_ppm=False)
    assert is_null_ppm(tmp_path / "ppm") and curve(tmp_path) == []
    assert (metrics["ppm_accuracy"], metrics["num_train_pairs"], metrics["num_validation_pairs"]) == (None, 0, 1)


def test_a_round_with_pairs_gets_a_ppm_that_loads(policy: Path, tmp_path: Path) -> None:
    too_long = replace(pair(1), node_key="0/1", rejected=(Step(StepKind.CODE, "9" * 200),))
    metrics = run(tmp_path, policy, [*map(pair, range(6)), too_long], [pair(7), pair(8), too_long])
    assert load_ppm(tmp_path / "ppm", "float32").config.num_labels == 1
    assert (metrics["num_train_pairs"], metrics["num_validation_pairs"], metrics["num_left_out"]) == (6, 2, 2)
    assert metrics["ppm_accuracy"] == metrics["ppm_accuracy_step"] in (0.0, 0.5, 1.0)
    assert metrics["ppm_accuracy_final"] is None
    assert metrics["timings"]["tokens/s"] > 0
    assert list(curve(tmp_path)[0]) == ["step", "epoch", "loss", "learning_rate"]
    assert float(curve(tmp_path)[-1]["loss"]) == metrics["final_loss"]
    assert {path.name for path in tmp_path.iterdir()} == {"problems.parquet", "pairs", "ppm", "curves"}


def test_too_many_pairs_that_do_not_fit_are_an_error(policy: Path, tmp_path: Path) -> None:
    too_long = [replace(pair(n), node_key=f"0/{n}", rejected=(Step(StepKind.CODE, "9" * 200),)) for n in range(2)]
    with pytest.raises(UserError, match=r"^2 of 9 .* max_length=128 tokens, and max_left_out=0\.2 allows fewer"):
        run(tmp_path, policy, [*map(pair, range(6)), too_long[0]], [pair(7), too_long[1]])
    assert not (tmp_path / "ppm").exists()


def test_a_round_without_pairs_gets_a_null_ppm_and_a_line(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run(tmp_path, policy, [], [pair(7)])
    assert is_null_ppm(tmp_path / "ppm") and curve(tmp_path) == []
    assert capsys.readouterr().err == "r1: no preference pairs to train on, so the round has no PPM\n"
    assert json.loads(json.dumps(metrics))["ppm_accuracy"] is None


def test_both_kinds_of_round_have_the_same_metrics(policy: Path, tmp_path: Path) -> None:
    with_pairs = run(tmp_path / "a", policy, [pair(1)], [])
    without = run(tmp_path / "b", policy, [], [])
    assert with_pairs.keys() - {"timings"} == without.keys()


def test_a_run_that_fails_while_saving_leaves_the_earlier_ppm(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, policy, [], [])

    def fail(model: Any, tokenizer: Any, folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr("tasks.train_ppm.save_ppm", fail)
    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, policy, [pair(1)], [])
    assert [path.name for path in (tmp_path / "ppm").iterdir()] == ["ppm.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"problems.parquet", "pairs", "ppm", "curves"}


def test_a_new_ppm_takes_the_place_of_an_earlier_one(policy: Path, tmp_path: Path) -> None:
    run(tmp_path, policy, [], [])
    run(tmp_path, policy, [pair(1)], [])
    assert not is_null_ppm(tmp_path / "ppm") and load_ppm(tmp_path / "ppm", "float32")
    assert {path.name for path in tmp_path.iterdir()} == {"problems.parquet", "pairs", "ppm", "curves"}


def test_the_accuracy_stands_beside_what_it_has_to_beat(policy: Path, tmp_path: Path) -> None:
    """A PPM of shuffled labels, trained in another process, and the policy's likelihood, on the same pairs."""
    metrics = run(tmp_path, policy, [pair(n) for n in range(6)], [pair(7), pair(8)])
    for name in ("ppm_accuracy_shuffled", "policy_accuracy"):
        assert metrics[name] == metrics[f"{name}_step"] in (0.0, 0.5, 1.0) and metrics[f"{name}_final"] is None
    assert 0 <= metrics["ppm_accuracy_training"] <= 1
