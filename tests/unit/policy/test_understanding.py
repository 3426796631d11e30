"""What a policy would write, of what it was not trained on: told by one pass, as its own greedy writing tells it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rstar_core.policy.rendering import encode_example
from rstar_core.policy.understanding import share_written
from rstar_core.types import Question, SftExample, Step, StepKind
from tests.unit.policy.tiny import ARCHITECTURE

EXAMPLES = [
    SftExample(
        Question(f"q{number}", f"Ann has {number} pens."),
        (Step(StepKind.CODE_END, f"print({number})", f"{number}\n"), Step(StepKind.ANSWER, f"\\boxed{{{number}}}")),
        "r0",
        1.0,
    )
    for number in (3, 14, 159)
]


class Writes(torch.nn.Module):
    """A model that always goes on as one of ``known`` does."""

    device = torch.device("cpu")

    def __init__(self, known: list[list[int]], vocab_size: int) -> None:
        super().__init__()
        self.known, self.vocab_size = known, vocab_size

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        logits = torch.zeros(*input_ids.shape, self.vocab_size)
        for row, ids in enumerate(input_ids.tolist()):
            for place in range(len(ids)):
                for known in self.known:
                    if known[: place + 1] == ids[: place + 1] and len(known) > place + 1:
                        logits[row, place, known[place + 1]] = 1.0
        return type("Output", (), {"logits": logits})


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from rstar_core.cot.prompt import zero_shot
    from rstar_core.policy.tokenizer import train_tokenizer

    texts = (zero_shot(one.question, one.steps) for one in EXAMPLES)
    return train_tokenizer(texts, ARCHITECTURE.vocab_size, ARCHITECTURE.max_position_embeddings)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_share_counts_what_is_written_to_the_end(tokenizer: Any, number: int) -> None:
    known = [encode_example(tokenizer, one.question, one.steps)["input_ids"] for one in EXAMPLES]
    assert share_written(Writes(known[:number], len(tokenizer)), tokenizer, EXAMPLES) == number / 3
    cut = [ids[:-1] for ids in known]
    assert share_written(Writes(cut, len(tokenizer)), tokenizer, EXAMPLES) == 0, "one token is missing"


def test_of_none_there_is_no_share(tokenizer: Any) -> None:
    assert share_written(Writes([], 9), tokenizer, []) is None
