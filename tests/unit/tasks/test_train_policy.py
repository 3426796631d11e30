"""The stage train_policy: every round starts from the base model, and says which one that was."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import PretrainedModel, Seed, TrainPolicy
from rstar_core.cot.prompt import zero_shot
from rstar_core.errors import UserError
from rstar_core.io import digest, write_sft_examples
from rstar_core.policy.card import ModelSource, PolicyCard, read_policy_card
from rstar_core.policy.folder import save_policy, save_reference, source_of, weights_digest
from rstar_core.policy.model import load_model, load_tokenizer, new_model
from rstar_core.policy.tokenizer import train_tokenizer
from rstar_core.types import SftExample
from tasks.train_policy import train_policy
from tests.unit.policy.tiny import ARCHITECTURE, EXAMPLES, TRAINING, make_plain


def run(folder: Path, base: Path, examples: list[SftExample], **changes: Any) -> dict[str, Any]:
    write_sft_examples(folder / "sft" / "train.parquet", examples)
    return train_policy(
        round_id="r1",
        base=base,
        sft=folder / "sft",
        policy=folder / "policy",
        curve=folder / "curves" / "train_policy.csv",
        seed=Seed(1),
        train_policy=TrainPolicy.model_validate({"training": {**TRAINING.model_dump(), **changes}}),
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "base"
    texts = (zero_shot(one.question, one.steps) for one in EXAMPLES)
    tokenizer = train_tokenizer(texts, ARCHITECTURE.vocab_size, ARCHITECTURE.max_position_embeddings)
    save_policy(folder, new_model(ARCHITECTURE, tokenizer, seed=1), tokenizer, None)
    return folder


def test_the_base_model_is_trained_and_stays_as_it_is(tmp_path: Path, base: Path) -> None:
    before = digest(base)
    metrics = run(tmp_path, base, EXAMPLES, epochs=8)
    source = ModelSource(str(base), None, weights_digest(load_model(base, "float32")))
    assert read_policy_card(tmp_path / "policy") == PolicyCard("zero_shot", base=source)
    assert weights_digest(load_model(tmp_path / "policy", "float32")) != source.sha256
    assert load_tokenizer(tmp_path / "policy").get_vocab() == load_tokenizer(base).get_vocab()
    assert digest(base) == before
    with (tmp_path / "curves" / "train_policy.csv").open(encoding="utf-8") as handle:
        losses = [float(row["loss"]) for row in csv.DictReader(handle)]
    assert losses[-1] == metrics["final_loss"] < losses[0]
    assert (metrics["num_sft"], metrics["num_left_out"]) == (12, 0)
    assert metrics["num_tokens"] > 0 and metrics["timings"]["tokens/s"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"sft", "policy", "curves"}


def test_the_same_inputs_give_the_same_bytes_whatever_policy_was_there(tmp_path: Path, base: Path) -> None:
    digests = []
    for examples in (EXAMPLES, EXAMPLES[:5], EXAMPLES):
        run(tmp_path, base, examples)
        digests.append(digest(tmp_path / "policy"))
    assert digests[0] == digests[2] != digests[1]


def test_a_base_that_is_a_reference_is_loaded_where_it_is(tmp_path: Path) -> None:
    make_plain(tmp_path / "theirs")
    source = source_of(PretrainedModel(name=str(tmp_path / "theirs")))
    save_reference(tmp_path / "base", "zero_shot", source)
    run(tmp_path, tmp_path / "base", EXAMPLES)
    assert read_policy_card(tmp_path / "policy") == PolicyCard("zero_shot", base=source)
    make_plain(tmp_path / "theirs", seed=7)
    with pytest.raises(UserError, match="not the weights that"):
        run(tmp_path, tmp_path / "base", EXAMPLES)


def test_no_examples_is_one_line_with_the_mend(tmp_path: Path, base: Path) -> None:
    with pytest.raises(UserError, match=r"r1 has no SFT examples .*; raise rounds\.r1\.num_rollouts or curate\."):
        run(tmp_path, base, [])
    assert not (tmp_path / "policy").exists()


def test_a_base_that_nobody_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"policy\.json: not found; run the stage"):
        run(tmp_path, tmp_path / "base", EXAMPLES)
