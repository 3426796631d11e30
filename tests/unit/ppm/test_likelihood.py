"""The policy's likelihood of a text is that of its own tokens, whatever shares its batch or its beginning."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstar_core.policy.model import load_model, load_tokenizer
from rstar_core.ppm.likelihood import log_probabilities
from rstar_core.ppm.rendering import EncodedNode


def test_it_is_the_sum_over_the_tokens_that_a_text_has_to_itself(policy: Path) -> None:
    import torch

    model, pad_id = load_model(policy, "float32").eval(), load_tokenizer(policy).pad_token_id
    rows = ((5, 6, 7, 8), (5, 6, 9, 8, 7))
    (found,) = log_probabilities(model, pad_id, [EncodedNode(rows, ((0, 1),), False)])
    for row, value in zip(rows, found, strict=True):
        with torch.inference_mode():
            logprobs = model(input_ids=torch.tensor([row])).logits[0].float().log_softmax(-1)
        expected = sum(float(logprobs[place - 1, row[place]]) for place in range(2, len(row)))
        assert value == pytest.approx(expected, abs=1e-4)
