"""LoRA: adapters learn, the rest stays, and what is left is a model as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rstar_core.config import Lora, Training, TrainPpm
from rstar_core.policy.model import new_model
from rstar_core.policy.rendering import encode_example
from rstar_core.training import checkpoints
from rstar_core.training.sft import TrainingReport, train_policy
from tests.unit.policy.tiny import ARCHITECTURE, EXAMPLES, TRAINING

RANK = 2
LORA = TRAINING.model_copy(update={"lora": Lora(rank=RANK, alpha=16), "epochs": 8.0, "learning_rate": 5e-3})


def train(tokenizer: Any, scratch: Path, training: Training = LORA) -> tuple[Any, TrainingReport]:
    model = new_model(ARCHITECTURE, tokenizer, 1)
    examples = [encode_example(tokenizer, one.question, one.steps) for one in EXAMPLES]
    return model, train_policy(model, tokenizer, examples, training, 1, scratch)


def test_linear_layers_move_by_a_low_rank_and_nothing_else_does(tokenizer: Any, tmp_path: Path) -> None:
    before = new_model(ARCHITECTURE, tokenizer, 1).state_dict()
    model, report = train(tokenizer, tmp_path)
    after = model.state_dict()
    assert report.curve[-1]["loss"] < 0.9 * report.curve[0]["loss"]
    assert list(after) == list(before) and all(weight.requires_grad for weight in model.parameters())
    for name, weight in before.items():
        moved = after[name] - weight
        is_linear = "_proj" in name
        assert torch.linalg.matrix_rank(moved, rtol=1e-4) == RANK if is_linear else not moved.any(), name


def test_who_is_interrupted_goes_on_to_the_same_weights(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = train(tokenizer, tmp_path / "whole")
    monkeypatch.setenv("RSTAR_CHECKPOINT_S", "0")
    real = checkpoints.seal  # type: ignore[attr-defined]

    def seal(folder: Path) -> None:
        real(folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoints, "seal", seal)
        train(tokenizer, tmp_path / "again")
    assert list((tmp_path / "again").glob("checkpoint-*"))
    again, _ = train(tokenizer, tmp_path / "again")
    for (name, ours), (_, theirs) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_ppm_learns_whole() -> None:
    rest = {"token_weight": 1.0, "lm_weight": 1.0, "extra_layers": 1, "frozen_layers": 1, "min_updates": 0}
    with pytest.raises(ValidationError, match="lora is for policies"):
        TrainPpm.model_validate({"training": LORA.model_dump(), **rest, "loss_scale": 4.0, "control": 0.0})
