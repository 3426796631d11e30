"""Question and steps -> token ids, remembered piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rstar_core.cot.grammar import STOPS
from rstar_core.cot.prompt import zero_shot
from rstar_core.errors import UserError
from rstar_core.policy.rendering import encode_prompt, encode_step
from rstar_core.types import Question, Step


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, and the lengths at which a prefix of them may have been a prompt before."""

    ids: tuple[int, ...]
    lengths: tuple[int, ...]


Encoder = Callable[[Question, Sequence[Step]], Prompt]


def encoder(tokenizer: Any) -> Encoder:
    """(question, steps) -> Prompt, with a memory for the pieces."""
    start = lru_cache(maxsize=4096)(lambda question: encode_prompt(tokenizer, zero_shot(question, ())))
    step_ids = lru_cache(maxsize=65536)(lambda step: encode_step(tokenizer, step))

    def encode(question: Question, steps: Sequence[Step]) -> Prompt:
        ids, lengths = list(start(question)), []
        for step in steps:
            lengths.append(len(ids))
            ids += step_ids(step)
        return Prompt(tuple(ids), (*lengths, len(ids)))

    return encode


def stop_ids(tokenizer: Any) -> list[int]:
    """The ids of the markers that end a step.

    Raises:
        UserError: the tokenizer does not have each marker as one token.
    """
    ids = [tokenizer.encode(marker, add_special_tokens=False) for marker in STOPS]
    if any(len(one) != 1 for one in ids):
        raise UserError("the policy's tokenizer does not have the step markers as tokens; train it with this project")
    return [one[0] for one in ids]
