"""``check`` finds what was changed, lost or made from something else, and names it; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from rstar_core.errors import UserError
from rstar_core.evaluation.accuracies import accuracies
from rstar_core.io import (
    digest,
    write_json,
    write_pairs,
    write_predictions,
    write_problems,
    write_sft_examples,
    write_trajectories,
)
from rstar_core.policy.card import ModelSource, write_policy_card
from rstar_core.ppm.model import write_null_ppm
from rstar_core.shards import MANIFEST, write_trees
from rstar_core.types import (
    Node,
    Prediction,
    PreferencePair,
    Problem,
    Question,
    SearchTree,
    SftExample,
    Step,
    StepKind,
    Trajectory,
)
from tasks.__main__ import main
from tasks.commands.consistency import check_all
from tasks.runner.lock import dvc_md5

WHOLE = "checked: 3 outputs, 2 inputs, 1 shards, 2 lineage, 0 checkpoints, 0 metrics, 0 tracking; faults: 0\n"
STEP = Step(StepKind.ANSWER, "1")
TREE = SearchTree("p0", "r1", 0, (Node(-1, None, 0.0, 1, 1.0), Node(0, STEP, 0.0, 1, 1.0)), 1, 3)
FOUND = Trajectory("p0", "r1", 0, 1, (STEP,), "1", (1.0,), 1.0, True)
TRAIN, TREES, TRAJECTORIES = "artifacts/problems/train.parquet", "artifacts/r1/trees", "artifacts/r1/trajectories"


def lock() -> None:
    """As DVC writes it, of what is here."""
    stages = {"ingest": ([], [TRAIN]), "synthesize@r1": ([TRAIN], [TREES]), "verify@r1": ([TREES], [TRAJECTORIES])}
    entries = {
        name: {
            "deps": [{"path": path, "md5": dvc_md5(Path(path))} for path in deps],
            "outs": [{"path": path, "md5": dvc_md5(Path(path))} for path in outs],
        }
        for name, (deps, outs) in stages.items()
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": entries}))


def make(*trees: SearchTree, found: Trajectory = FOUND) -> None:
    write_problems(TRAIN, [Problem("p0", "What is 1?", "1", 1, "made", "MIT")])
    Path(TREES).mkdir(parents=True)
    write_trees(TREES, trees)
    write_trajectories(f"{TRAJECTORIES}/trajectories.parquet", [found])
    lock()


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.commands.consistency.compare", lambda: iter(()))
    monkeypatch.setattr("tasks.__main__.die_with_parent", lambda: None)
    return tmp_path


def test_what_is_whole_has_no_faults(capsys: pytest.CaptureFixture[str]) -> None:
    make(TREE)
    before = digest(".")
    assert main(["check"]) == 0
    assert capsys.readouterr().out == WHOLE
    assert digest(".") == before


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])


@pytest.mark.parametrize(
    ("harm", "lines"),
    [
        (lambda: flip(next(Path(TREES).glob("*.parquet"))), ["has changed since synthesize@r1", "not what was sealed"]),
        (lambda: next(Path(TREES).glob("*.parquet")).unlink(), ["in the manifest, but not there"]),
        (lambda: Path(TREES, MANIFEST).write_text("{}"), ["not a manifest"]),
        (lambda: write_problems(TRAIN, []), ["train.parquet: has changed", "no such problem"]),
        (lambda: Path(TRAIN).unlink(), ["train.parquet: not here, but ingest made it"]),
    ],
)
def test_harm_is_named(harm: Callable[[], object], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    make(TREE)
    harm()
    assert main(["check"]) == 2
    out = capsys.readouterr().out
    assert all(line in out for line in lines), out


def test_a_doubled_tree_and_a_leaf_from_nowhere_are_faults() -> None:
    make(TREE, TREE, replace(TREE, tree_index=1, round_id="r2"), found=replace(FOUND, leaf=7))
    faults = "\n".join(check_all().faults)
    assert "tree 0 of problem p0: there twice" in faults
    assert "tree 1 of problem p0: it is of round r2" in faults
    assert "leaf 7 of tree 0 of problem p0 is in no tree" in faults


def test_a_stage_that_ran_on_something_else_is_a_fault() -> None:
    make(TREE)
    write_problems(TRAIN, [Problem("p0", "What is 1?", "1", 2, "made", "MIT")])
    stages = yaml.safe_load(Path("dvc.lock").read_text())
    stages["stages"]["ingest"]["outs"][0]["md5"] = dvc_md5(Path(TRAIN))
    Path("dvc.lock").write_text(yaml.safe_dump(stages))
    assert check_all().faults == [
        f"synthesize@r1: ran on another {TRAIN} than ingest has made; run: dvc repro synthesize@r1"
    ]


def test_nothing_to_check_is_one_line() -> None:
    with pytest.raises(UserError, match=r"dvc\.lock: not found; run a round first"):
        check_all()


# --- from rows to checkpoints to metrics ----------------------------------------------------------------------


def test_examples_and_pairs_from_nowhere_are_faults() -> None:
    make(TREE)
    question = Question("p0", "What is 1?")
    own, invented = (SftExample(question, (step,), "r1", 1.0) for step in (STEP, Step(StepKind.ANSWER, "2")))
    write_sft_examples("artifacts/r1/sft/train.parquet", [own, invented])
    keys = ("r1/0/1", "r1/0/7", "r1/3/0", "r1/final", "r0/9/9")
    write_pairs("artifacts/r1/pairs/train.parquet", [PreferencePair("p0", key, (), (STEP,), (STEP,)) for key in keys])
    assert check_all().faults == [
        "artifacts/r1/sft/train.parquet: an example of problem p0 is no correct trajectory of r1",
        "artifacts/r1/pairs/train.parquet: node 7 of tree 0 of problem p0 is in no tree",
        "artifacts/r1/pairs/train.parquet: node 0 of tree 3 of problem p0 is in no tree",
    ]


def checkpoint(folder: str, base: ModelSource | None = None, *, content: bytes | None = None) -> None:
    Path(folder).mkdir(parents=True)
    save_file({"weight": np.ones(3, np.float32)}, f"{folder}/model.safetensors")
    if content is not None:
        Path(folder, "model.safetensors").write_bytes(content)
    write_policy_card(Path(folder), "zero_shot", base)


def test_a_checkpoint_without_readable_weights_or_of_another_base_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    make(TREE)
    Path("artifacts/base").mkdir()
    monkeypatch.setattr("tasks.commands.lineage._digest_of", lambda base: "b4")
    checkpoint("artifacts/r0/policy")
    checkpoint("artifacts/r1/policy", ModelSource("artifacts/base", sha256="b4"))
    checkpoint("artifacts/r2/policy", ModelSource("artifacts/base", sha256="b5"))
    checkpoint("artifacts/r3/policy", content=b"torn")
    Path("artifacts/r0/ppm").mkdir()
    write_null_ppm("artifacts/r0/ppm")
    Path("artifacts/r1/ppm").mkdir()
    report = check_all()
    assert report.num_checked["checkpoints"] == 6
    assert [fault.partition(" (")[0] for fault in report.faults] == [
        "artifacts/r1/ppm: no weights; run the stage that makes it again",
        "artifacts/r2/policy: was trained from another artifacts/base than is here; run its training again",
        "artifacts/r3/policy/model.safetensors: not readable",
    ]


def test_metrics_are_those_of_the_predictions_on_held_out_problems() -> None:
    make(TREE)
    write_problems("artifacts/problems/benchmark.parquet", [Problem("q0", "What is 2?", "2", 1, "made", "MIT")])
    predictions = [Prediction("q0", "made", 1, "greedy", 0, 2, "2", (0.0, 0.0), 1.0, 0, "equal")]
    write_predictions("artifacts/r1/predictions.parquet", predictions)
    write_json("artifacts/r1/metrics/evaluate.json", {**accuracies(predictions), "num_tokens": 9})
    assert check_all().faults == []
    write_json("artifacts/r1/metrics/evaluate.json", {**accuracies(predictions), "policy_pass@1": {"all": 0.5}})
    write_predictions("artifacts/r2/predictions.parquet", [replace(predictions[0], problem_id="p0")])
    assert check_all().faults == [
        "artifacts/r1/metrics/evaluate.json: policy_pass@1 is not what artifacts/r1/predictions.parquet says; "
        "run evaluate again",
        "artifacts/r2/predictions.parquet: problem p0 is not among the held-out problems",
    ]
