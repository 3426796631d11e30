"""The policy's own likelihood as a ranker of preference pairs: what a PPM has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rstar_core.ppm.packing import PackedRow, batches_of_like_width, own_tokens, pack, packed_hidden
from rstar_core.ppm.rendering import EncodedNode


def log_probabilities(policy: Any, pad_id: int, nodes: Sequence[EncodedNode]) -> list[list[float]]:
    """Of each node's texts, the sum of log p (nats, temperature 1) of the tokens that the text has to itself.

    The first token of a text that shares nothing does not count: nothing is before it.
    """
    rows = [pack([node.rows]) for node in nodes]
    sums: list[list[float]] = [[] for _ in rows]
    for places, batch in batches_of_like_width(rows, pad_id, policy.device):
        for place, found in zip(places, _sums(policy, batch, [rows[place] for place in places]), strict=True):
            sums[place] = found
    return sums


def _sums(policy: Any, batch: dict[str, Any], rows: Sequence[PackedRow]) -> list[list[float]]:
    import torch

    tokens = [
        (number, *token, text)
        for number, row in enumerate(rows)
        for text in range(len(row.paths))
        for token in own_tokens(row, text)
    ]
    numbers, before, written, texts = (list(column) for column in zip(*tokens, strict=True))
    with torch.inference_mode():
        hidden = packed_hidden(policy, batch)[numbers, before]
        logprobs = policy.get_output_embeddings()(hidden).float().log_softmax(-1)
        values = logprobs.gather(-1, torch.tensor(written, device=policy.device)[:, None]).squeeze(-1).tolist()
    sums = [[0.0] * len(row.paths) for row in rows]
    for number, text, value in zip(numbers, texts, values, strict=True):
        sums[number][text] += value
    return sums
