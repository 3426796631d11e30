"""Training the policy: what carries loss, what is left out, and that the same inputs give the same weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import Training
from rstar_core.errors import UserError
from rstar_core.policy.folder import weights_digest
from rstar_core.policy.model import load_model, new_model, save_model
from rstar_core.policy.rendering import encode_example
from rstar_core.training.sft import TrainingReport, train_policy
from tests.unit.policy.tiny import ARCHITECTURE, EXAMPLES, TRAINING

Encoded = dict[str, list[int]]


@pytest.fixture(scope="module")
def encoded(tokenizer: Any) -> list[Encoded]:
    return [encode_example(tokenizer, one.question, one.steps) for one in EXAMPLES]


def train(
    tokenizer: Any, examples: Sequence[Encoded], seed: int = 1, scratch: Path | None = None, **changes: Any
) -> tuple[Any, TrainingReport]:
    model = new_model(ARCHITECTURE, tokenizer, seed)
    training = Training.model_validate({**TRAINING.model_dump(), **changes})
    with tempfile.TemporaryDirectory() as fresh:
        return model, train_policy(model, tokenizer, examples, training, seed, scratch or Path(fresh))


def test_training_learns_and_reports(tokenizer: Any, encoded: list[Encoded]) -> None:
    model, report = train(tokenizer, encoded, epochs=8)
    assert model.config.use_cache
    assert report.curve[-1]["loss"] < 0.7 * report.curve[0]["loss"]
    assert [row["step"] for row in report.curve] == [1, 5, 10, 15, 20]
    assert report.num_examples == 12
    assert report.num_tokens == 8 * sum(len(one["input_ids"]) for one in encoded)


@pytest.mark.slow
def test_the_same_inputs_give_the_same_weights_and_another_seed_does_not(
    tokenizer: Any, encoded: list[Encoded]
) -> None:
    digests = [weights_digest(train(tokenizer, encoded, seed)[0]) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_the_first_loss_is_the_mean_over_the_tokens_that_the_policy_writes(
    tokenizer: Any, encoded: list[Encoded]
) -> None:
    import torch

    # Rows of two lengths: padding must not count either.
    _, report = train(tokenizer, encoded, batch_size=len(encoded))
    model, losses = new_model(ARCHITECTURE, tokenizer, 1).eval(), []
    for one in encoded:
        logits = model(torch.tensor([one["input_ids"]])).logits[0].log_softmax(-1)
        pairs = zip(logits[:-1], one["input_ids"][1:], one["completion_mask"][1:], strict=True)
        losses += [-row[token].item() for row, token, is_counted in pairs if is_counted]
    assert len({len(one["input_ids"]) for one in encoded}) > 1
    assert report.curve[0]["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_lean_loss_has_the_gradients_of_the_librarys(
    tokenizer: Any, encoded: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    lean, _ = train(tokenizer, encoded, epochs=1)
    monkeypatch.setattr("rstar_core.training.trainers.trainer_class", lambda base, objective: base)
    plain, _ = train(tokenizer, encoded, epochs=1)
    for one, other in zip(lean.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_overlong_examples_are_left_out_whole(tokenizer: Any, encoded: list[Encoded]) -> None:
    longest = max(len(one["input_ids"]) for one in encoded)
    num_long = sum(len(one["input_ids"]) == longest for one in encoded)
    with pytest.raises(UserError, match=rf"^{num_long} of 12 .* max_length={longest - 1} .* max_left_out=0.05 allows"):
        train(tokenizer, encoded, max_length=longest - 1)
    _, report = train(tokenizer, encoded, max_length=longest - 1, max_left_out=num_long / 12)
    assert report.num_examples == 12 - num_long
    with pytest.raises(UserError, match="no example fits max_length=3 tokens; raise it"):
        train(tokenizer, encoded, max_length=3)


# --- killed and started again ---------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def killed_after(monkeypatch: pytest.MonkeyPatch, num_steps: int) -> None:
    """End trainings after so many steps of this life."""
    from transformers import Trainer

    real, done = Trainer.training_step, [0]

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        done[0] += 1
        if done[0] > num_steps:
            raise Killed
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", step)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights_and_the_same_curve(
    tokenizer: Any, encoded: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSTAR_CHECKPOINT_S", "0")
    model, whole = train(tokenizer, encoded, epochs=8)
    lives = 0
    for num_steps in (3, 7, 9, 12):  # 24 steps in all, a checkpoint after every fifth
        with monkeypatch.context() as patch:
            killed_after(patch, num_steps)
            with pytest.raises(Killed):
                train(tokenizer, encoded, scratch=tmp_path, epochs=8)
                pytest.fail("it should not have come to its end")
        lives += 1
        if sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-15"]:
            break
    assert lives >= 3
    again, report = train(tokenizer, encoded, scratch=tmp_path, epochs=8)
    assert weights_digest(again) == weights_digest(model)
    assert report.curve == whole.curve
    assert report.num_tokens == whole.num_tokens


@pytest.mark.slow
def test_a_checkpoint_that_is_not_whole_is_left_out(
    tokenizer: Any,
    encoded: list[Encoded],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RSTAR_CHECKPOINT_S", "0")
    model, _ = train(tokenizer, encoded, epochs=4)
    with monkeypatch.context() as patch:
        killed_after(patch, 7)
        with pytest.raises(Killed):
            train(tokenizer, encoded, scratch=tmp_path, epochs=4)
    weights = tmp_path / "checkpoint-5" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "checkpoint-9").mkdir()
    again, _ = train(tokenizer, encoded, scratch=tmp_path, epochs=4)
    said = capsys.readouterr().err
    assert "checkpoint-5: not whole; left out" in said and "checkpoint-9: not whole; left out" in said
    assert weights_digest(again) == weights_digest(model)


def test_a_loss_that_is_no_number_ends_the_training(tokenizer: Any, encoded: list[Encoded]) -> None:
    with pytest.raises(UserError, match=r"the loss is not a number at step \d+ of \d+; nothing is published"):
        train(tokenizer, encoded, learning_rate=1e20, epochs=8)


def test_weights_that_are_no_numbers_are_not_saved(tokenizer: Any, tmp_path: Path) -> None:
    model = new_model(ARCHITECTURE, tokenizer, 1)
    model.model.norm.weight.data[0] = float("inf")
    with pytest.raises(UserError, match=r"the weights model.norm.weight hold what is no number"):
        save_model(model, tokenizer, tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize("damage", ["cut", "header", "another config"])
def test_damaged_weights_are_one_line(tokenizer: Any, tmp_path: Path, damage: str) -> None:
    save_model(new_model(ARCHITECTURE, tokenizer, 1), tokenizer, tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "header":
        weights.write_bytes(b"\xff" * 8 + weights.read_bytes()[8:])
    else:
        config = tmp_path / "config.json"
        settings = json.loads(config.read_text())
        config.write_text(json.dumps({**settings, "num_hidden_layers": settings["num_hidden_layers"] + 1}))
    with pytest.raises(UserError) as error:
        load_model(tmp_path, "float32")
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path))
