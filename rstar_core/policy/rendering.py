"""Solutions as token ids with a loss mask: the policy learns what it writes, not the prompt or executor output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rstar_core.cot.grammar import render_segments
from rstar_core.cot.prompt import zero_shot
from rstar_core.types import Question, Step


def encode_example(tokenizer: Any, question: Question, steps: Sequence[Step]) -> dict[str, list[int]]:
    """``input_ids`` and ``completion_mask`` (1 where the loss counts), one entry per token, for TRL's SFTTrainer."""
    input_ids = encode_prompt(tokenizer, zero_shot(question, ()))
    mask = [0] * len(input_ids)
    for step in steps:
        for text, is_models in render_segments(step):
            ids = tokenizer.encode(text, add_special_tokens=False)
            input_ids += ids
            mask += [int(is_models)] * len(ids)
    return {"input_ids": input_ids, "completion_mask": mask}


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, begun by the tokenizer's begin token where it has one."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids: list[int] = tokenizer.encode(prompt, add_special_tokens=False)
    return begin + ids


def encode_step(tokenizer: Any, step: Step) -> list[int]:
    """Token ids of one step as it stands in a prompt."""
    ids: list[int] = []
    for text, _ in render_segments(step):
        ids += tokenizer.encode(text, add_special_tokens=False)
    return ids
