"""The policy card: what is written is read, and a broken one is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from rstar_core.cot.prompt import PROMPTS
from rstar_core.errors import UserError
from rstar_core.policy.card import ModelSource, PolicyCard, Prompt, read_policy_card, write_policy_card

BASE = ModelSource("smollm2-135m", None, "ab" * 32)
REFERENCE = ModelSource("some/model", "0123abc")


def test_a_card_names_exactly_the_prompts_there_are() -> None:
    assert set(get_args(Prompt)) == set(PROMPTS)


def test_a_folder_of_weights_says_what_they_were_trained_from(tmp_path: Path) -> None:
    write_policy_card(tmp_path, "zero_shot", BASE)
    assert read_policy_card(tmp_path) == PolicyCard("zero_shot", base=BASE)
    assert json.loads((tmp_path / "policy.json").read_text()) == {
        "prompt": "zero_shot",
        "base": {"name": "smollm2-135m", "revision": None, "sha256": "ab" * 32},
    }


def test_a_policy_may_be_a_reference(tmp_path: Path) -> None:
    write_policy_card(tmp_path / "policy", "two_shot", reference=REFERENCE)
    assert read_policy_card(tmp_path / "policy") == PolicyCard("two_shot", reference=REFERENCE)


def test_a_policy_from_scratch_has_no_base(tmp_path: Path) -> None:
    write_policy_card(tmp_path, "zero_shot")
    assert read_policy_card(tmp_path) == PolicyCard("zero_shot")


BROKEN = {
    "not JSON": "{",
    "a list": "[]",
    "a number": "3",
    "no prompt": "{}",
    "an unknown prompt": '{"prompt": "nine_shot"}',
    "a prompt that is a list": '{"prompt": ["zero_shot"]}',
    "an unknown field": '{"prompt": "zero_shot", "weights": 1}',
    "an unknown field of a source": '{"prompt": "zero_shot", "base": {"name": "a", "url": "b"}}',
    "a source that is text": '{"prompt": "zero_shot", "base": "a"}',
    "both sources": '{"prompt": "zero_shot", "base": {"name": "a"}, "reference": {"name": "a"}}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_card_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(UserError, match=r"policy\.json: not") as raised:
        read_policy_card(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"policy\.json: not found"):
        read_policy_card(tmp_path)
