"""A score belongs to the last token of its row alone; weights come from the policy; a folder says what it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rstar_core.errors import UserError
from rstar_core.policy.model import load_model
from rstar_core.ppm.model import is_null_ppm, load_ppm, new_ppm, save_ppm, score_batch, write_null_ppm

ROWS = [[5, 6, 7, 8, 9, 10], [5, 6, 7], [11, 12]]


@pytest.fixture(scope="module")
def ppm(policy: Path) -> Any:
    return new_ppm(policy, "float32", seed=3)


def test_padding_changes_no_score(ppm: Any, tokenizer: Any) -> None:
    alone = [score_batch(ppm, tokenizer.pad_token_id, [row])[0] for row in ROWS]
    assert score_batch(ppm, tokenizer.pad_token_id, ROWS) == pytest.approx(alone, abs=1e-6)


def test_the_score_is_tanh_of_the_head_at_the_last_token(ppm: Any, tokenizer: Any) -> None:
    with torch.inference_mode():
        expected = [
            float(torch.tanh(ppm.score(ppm.model(torch.tensor([row])).last_hidden_state[0, -1]))) for row in ROWS
        ]
    assert score_batch(ppm, tokenizer.pad_token_id, ROWS) == pytest.approx(expected, abs=1e-6)


def test_no_rows_have_no_scores(ppm: Any, tokenizer: Any) -> None:
    assert score_batch(ppm, tokenizer.pad_token_id, []) == []


def test_the_backbone_is_the_policys(ppm: Any, policy: Path) -> None:
    theirs = load_model(policy, "float32").model.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ppm.model.state_dict().items())


def test_a_fresh_ppm_scores_near_zero_but_not_alike(ppm: Any, tokenizer: Any) -> None:
    scores = score_batch(ppm, tokenizer.pad_token_id, ROWS)
    assert len(set(scores)) == len(ROWS)
    assert max(map(abs, scores)) < 0.5


def test_the_head_depends_on_the_seed_only(ppm: Any, policy: Path) -> None:
    torch.manual_seed(99)
    assert torch.equal(new_ppm(policy, "float32", seed=3).score.weight, ppm.score.weight)
    assert not torch.equal(new_ppm(policy, "float32", seed=4).score.weight, ppm.score.weight)


def test_a_saved_ppm_scores_the_same_and_is_plain(ppm: Any, tokenizer: Any, tmp_path: Path) -> None:
    save_ppm(ppm, tokenizer, tmp_path)
    scores = score_batch(load_ppm(tmp_path, "float32"), tokenizer.pad_token_id, ROWS)
    assert scores == score_batch(ppm, tokenizer.pad_token_id, ROWS)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["problem_type"] == "regression"
    assert (tmp_path / "model.safetensors").exists() and not is_null_ppm(tmp_path)


def test_making_and_loading_prints_nothing(policy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    new_ppm(policy, "float32")
    assert "score.weight" not in "".join(capfd.readouterr())


def test_a_policy_is_not_taken_for_a_ppm(policy: Path) -> None:
    with pytest.raises(UserError, match="no score head"):
        load_ppm(policy, "float32")


def test_a_damaged_file_is_one_line(ppm: Any, tokenizer: Any, tmp_path: Path) -> None:
    save_ppm(ppm, tokenizer, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError) as error:
        load_ppm(tmp_path, "float32")
    assert str(error.value).startswith(f"{tmp_path}: no PPM that can be loaded") and "\n" not in str(error.value)


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no PPM that can be loaded"):
        load_ppm(tmp_path / "nowhere", "float32")


def test_pickled_weights_are_refused(ppm: Any, tokenizer: Any, tmp_path: Path) -> None:
    save_ppm(ppm, tokenizer, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(ppm.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError):
        load_ppm(tmp_path, "float32")


def test_a_null_ppm_says_so_and_does_not_load(tmp_path: Path) -> None:
    write_null_ppm(tmp_path / "ppm")
    assert is_null_ppm(tmp_path / "ppm")
    with pytest.raises(UserError, match="has no PPM"):
        load_ppm(tmp_path / "ppm", "float32")


def test_a_null_ppm_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from rstar_core.ppm.model import is_null_ppm, write_null_ppm\n"
        f"write_null_ppm({str(tmp_path)!r}); assert is_null_ppm({str(tmp_path)!r}); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "trl"} & set(done.stdout.split())


def test_frozen_layers_take_no_part_in_training(policy: Path) -> None:
    model = new_ppm(policy, "float32", extra_layers=1, frozen_layers=1)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    first, last = "model.layers.0.", f"model.layers.{model.config.num_hidden_layers - 1}."
    assert "model.embed_tokens.weight" not in trained and not any(name.startswith(first) for name in trained)
    assert "score.weight" in trained and any(name.startswith(last) for name in trained)


def test_more_frozen_layers_than_there_are_is_one_line(policy: Path) -> None:
    with pytest.raises(UserError, match="frozen_layers: the policy has"):
        new_ppm(policy, "float32", extra_layers=9, frozen_layers=9)


def test_extra_layers_change_nothing_before_they_are_trained(
    policy: Path, ppm: Any, tokenizer: Any, tmp_path: Path
) -> None:
    deeper = new_ppm(policy, "float32", seed=3, extra_layers=2).eval()
    pad_id = tokenizer.pad_token_id
    assert score_batch(deeper, pad_id, ROWS) == pytest.approx(score_batch(ppm.eval(), pad_id, ROWS), abs=1e-6)
    last = deeper.base_model.layers[-1]
    assert last.self_attn.q_proj.weight.std() > 0 and last.self_attn.o_proj.weight.abs().max() == 0
    again = new_ppm(policy, "float32", seed=3, extra_layers=2)
    assert all(torch.equal(one, other) for one, other in zip(deeper.parameters(), again.parameters(), strict=True))
    save_ppm(deeper, tokenizer, tmp_path)
    assert load_ppm(tmp_path, "float32").config.num_hidden_layers == ppm.config.num_hidden_layers + 2
