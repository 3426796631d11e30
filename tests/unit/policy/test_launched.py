"""Trainings of several passes and processes: the weights of one, and a process that is killed costs nothing."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from rstar_core.config import Lora, Training, TrainPpm
from rstar_core.errors import UserError
from rstar_core.policy.folder import save_policy
from rstar_core.policy.model import new_model
from rstar_core.policy.rendering import encode_example
from rstar_core.ppm.model import new_ppm
from rstar_core.ppm.rendering import EncodedNode
from rstar_core.training.batches import shared_out
from rstar_core.training.preferences import train_ppm
from rstar_core.training.sft import train_policy
from tests.unit.policy.tiny import ARCHITECTURE, EXAMPLES, TRAINING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TWO = shlex.join([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])
PPM = TrainPpm(
    training=TRAINING.model_copy(update={"batch_size": 6}),
    token_weight=1.0,
    lm_weight=1.0,
    extra_layers=1,
    frozen_layers=1,
    min_updates=0,
    loss_scale=4.0,
    control=0.0,
)
# Batches of 5 for two processes, and 12 rows: neither a batch nor the last one of an epoch can be shared out evenly.
UNEVEN = TRAINING.model_copy(update={"batch_size": 5})


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.chdir(tmp_path)


def policy(tokenizer: Any, scratch: Path, training: Training = UNEVEN) -> Any:
    model = new_model(ARCHITECTURE, tokenizer, 1)
    examples = [encode_example(tokenizer, one.question, one.steps) for one in EXAMPLES]
    return model, train_policy(model, tokenizer, examples, training, 1, scratch)


def adapters(tokenizer: Any, scratch: Path) -> Any:
    return policy(tokenizer, scratch, UNEVEN.model_copy(update={"lora": Lora(rank=2, alpha=16), "learning_rate": 5e-3}))


def nodes(tokenizer: Any) -> list[EncodedNode]:
    def node(number: int) -> EncodedNode:
        start = tuple(encode_example(tokenizer, EXAMPLES[number].question, ())["input_ids"])
        return EncodedNode(tuple((*start, 7 + number, one) for one in (5, 6, 9)), ((0, 1), (2, 1)), False, f"q{number}")

    return [node(number) for number in range(len(EXAMPLES)) for _ in range(1 + number % 3)]


def ppm(tokenizer: Any, scratch: Path) -> Any:
    save_policy(Path("policy"), new_model(ARCHITECTURE, tokenizer, 1), tokenizer, None)
    model = new_ppm("policy", "float32", 1, PPM.extra_layers, PPM.frozen_layers)
    return model, train_ppm(model, tokenizer, nodes(tokenizer), nodes(tokenizer)[:4], PPM, 1, scratch)


def assert_alike(one: Any, other: Any) -> None:
    for (name, ours), (_, theirs) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("train", [policy, ppm, adapters])
def test_a_batch_in_passes_gives_the_same_weights(
    train: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = train(tokenizer, tmp_path / "alone")
    monkeypatch.setenv("RSTAR_MICRO_BATCH", "2")
    monkeypatch.setenv("RSTAR_ACTIVATION_CHECKPOINTING", "1")
    by_passes, _ = train(tokenizer, tmp_path / "passes")
    assert_alike(alone, by_passes)


def test_two_processes_of_which_one_is_killed_give_the_weights_of_one(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.PPM", PPM.model_copy(update={"min_updates": 30}))
    alone, report = ppm(tokenizer, tmp_path / "alone")
    for name, value in (("TRAINER", TWO), ("CHECKPOINT_S", "0"), ("MICRO_BATCH", "1")):
        monkeypatch.setenv(f"RSTAR_{name}", value)
    scratch = tmp_path / "killed"
    killer = threading.Thread(target=kill_one_at_its_second_checkpoint, args=(scratch,))
    killer.start()
    with pytest.raises(UserError, match=r"^RSTAR_TRAINER: .* goes on from the last checkpoint$"):
        ppm(tokenizer, scratch)
    killer.join()
    assert not left_at(scratch), "the others end with it"
    (checkpoint,) = [one for one in scratch.glob("checkpoint-*") if (one / "seal.json").exists()]
    assert int(checkpoint.name.rpartition("-")[2]) >= 10
    resumed, other_report = ppm(tokenizer, scratch)
    assert_alike(alone, resumed)
    for row, other in zip(report.training.curve, other_report.training.curve, strict=True):
        assert row["step"] == other["step"] and row["loss"] == pytest.approx(other["loss"], rel=1e-3, abs=1e-4)


def left_at(scratch: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if str(scratch) in process.cmdline() and "torch.distributed.run" not in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_one_at_its_second_checkpoint(scratch: Path) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if any(int(one.parent.name.rpartition("-")[2]) >= 10 for one in scratch.glob("checkpoint-*/seal.json")):
            os.kill(left_at(scratch)[-1].pid, signal.SIGKILL)
            return
        time.sleep(0.02)


def test_a_launcher_that_fails_is_one_line(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTAR_TRAINER", "no-such-launcher")
    with pytest.raises(UserError, match=r"^RSTAR_TRAINER: no-such-launcher can't be run: No such file or directory$"):
        policy(tokenizer, tmp_path / "scratch")
    monkeypatch.setenv("RSTAR_TRAINER", "false")
    with pytest.raises(UserError, match=r"it ended with exit code 1; what it said is in run/trainer.log"):
        policy(tokenizer, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("size", "processes", "micro", "expected"),
    [
        (128, 1, None, (128, 1)),
        (128, 8, None, (16, 1)),
        (128, 8, "4", (4, 4)),
        (5, 2, "2", (2, 2)),
        (4, 1, "16", (4, 1)),
        (3, 8, "2", (1, 1)),
    ],
)
def test_a_batch_is_shared_out(
    size: int, processes: int, micro: str | None, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    if micro:
        monkeypatch.setenv("RSTAR_MICRO_BATCH", micro)
    shared = shared_out(size)
    assert (shared.micro, shared.num_passes) == expected
    assert shared.num_places >= size
