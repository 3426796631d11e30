"""Policy folders: a base model is found by its card, and one that has changed is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import PretrainedModel
from rstar_core.errors import UserError
from rstar_core.io import digest
from rstar_core.policy.card import ModelSource, PolicyCard, read_policy_card
from rstar_core.policy.folder import (
    load_base,
    load_named,
    save_policy,
    save_reference,
    source_of,
    weights_digest,
)
from rstar_core.policy.model import load_model
from rstar_core.policy.pretrained import load_pretrained
from rstar_core.training.sft import train_on_examples
from tests.unit.policy.tiny import EXAMPLES, TRAINING, make_plain


def test_weights_come_back_with_the_digest_that_names_them(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    save_policy(tmp_path / "base", model, tokenizer, None)
    loaded, its_tokenizer, source = load_base(tmp_path / "base")
    assert source == ModelSource(str(tmp_path / "base"), None, weights_digest(model))
    assert weights_digest(loaded) == source.sha256 and its_tokenizer.get_vocab() == tokenizer.get_vocab()


def test_a_digest_sees_one_changed_weight(model: Any) -> None:
    import torch

    before = weights_digest(model)
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-6
    assert weights_digest(model) != before


def test_a_reference_is_loaded_as_it_would_be_by_name(tmp_path: Path, folder: Path) -> None:
    spec = PretrainedModel(name=str(folder))
    _, _, source = load_named(spec)
    save_reference(tmp_path / "base", "zero_shot", source)
    model, tokenizer, found = load_base(tmp_path / "base")
    as_it_is, _ = load_pretrained(spec, with_markers=False)
    assert found == source == source_of(spec)
    assert source.sha256 == weights_digest(as_it_is) != weights_digest(model)
    assert len(tokenizer.encode("<end_of_step>", add_special_tokens=False)) == 1
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["policy.json"]


def test_a_base_model_is_trained_in_float32_and_saved_as_it_was_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import Trainer

    model, tokenizer = load_pretrained(PretrainedModel(name=str(folder)), with_markers=False)
    for target in (model.bfloat16(), tokenizer):
        target.save_pretrained(tmp_path / "half")
    loaded, tokenizer, source = load_named(PretrainedModel(name=str(tmp_path / "half")))
    real, trained = Trainer.training_step, set()

    def step(self: Any, model: Any, *args: Any) -> Any:
        trained.update(weight.dtype for weight in model.parameters())
        return real(self, model, *args)

    monkeypatch.setattr(Trainer, "training_step", step)
    train_on_examples(loaded, tokenizer, EXAMPLES, TRAINING, 1, tmp_path / "scratch")
    assert trained == {torch.float32}
    save_policy(tmp_path / "policy", loaded, tokenizer, source)
    assert {weight.dtype for weight in load_model(tmp_path / "policy", "auto").parameters()} == {torch.bfloat16}


def test_a_reference_to_weights_that_have_changed_is_refused(tmp_path: Path) -> None:
    make_plain(tmp_path / "theirs")
    save_reference(tmp_path / "base", "zero_shot", source_of(PretrainedModel(name=str(tmp_path / "theirs"))))
    make_plain(tmp_path / "theirs", seed=7)
    with pytest.raises(UserError, match=r"theirs: not the weights that .*base was made from; run: dvc repro"):
        load_base(tmp_path / "base")


def test_a_hub_model_is_pinned_by_its_revision_and_not_fetched() -> None:
    assert source_of(PretrainedModel(name="nobody/nothing", revision="0123abc")) == ModelSource(
        "nobody/nothing", "0123abc"
    )


@pytest.mark.slow
def test_a_trained_folder_is_the_same_bytes_every_time_and_names_its_base(tmp_path: Path, folder: Path) -> None:
    digests = []
    for name in ("one", "other"):
        model, tokenizer, source = load_named(PretrainedModel(name=str(folder)))
        train_on_examples(model, tokenizer, EXAMPLES, TRAINING, 1, tmp_path / f"{name}-scratch")
        save_policy(tmp_path / name, model, tokenizer, source)
        digests.append(digest(tmp_path / name))
        assert read_policy_card(tmp_path / name) == PolicyCard("zero_shot", base=source)
    assert digests[0] == digests[1]


def test_saved_files_say_nothing_of_where_they_were_made(tmp_path: Path, folder: Path) -> None:
    model, tokenizer, _ = load_named(PretrainedModel(name=str(folder)))
    train_on_examples(model, tokenizer, EXAMPLES, TRAINING, 1, tmp_path / "scratch")
    save_policy(tmp_path / "policy", model, tokenizer, None)
    texts = {path.name: path.read_bytes() for path in (tmp_path / "policy").iterdir()}
    assert "training_args.bin" not in texts
    assert not [name for name, text in texts.items() if str(folder).encode() in text or str(tmp_path).encode() in text]
