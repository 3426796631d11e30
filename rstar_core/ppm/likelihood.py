"""The policy's own likelihood as a ranker of preference pairs: what a PPM has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rstar_core.ppm.model import pad_rows
from rstar_core.ppm.packing import pack
from rstar_core.ppm.rendering import EncodedNode

_ROWS_AT_ONCE = 64


def log_probabilities(policy: Any, pad_id: int, nodes: Sequence[EncodedNode]) -> list[list[float]]:
    """Of each node's texts, the sum of log p (nats, temperature 1) of the tokens that the text has to itself."""
    starts = [len(pack(node.rows).shared) for node in nodes]
    rows = [(row, start) for node, start in zip(nodes, starts, strict=True) for row in node.rows]
    order = sorted(range(len(rows)), key=lambda place: len(rows[place][0]))
    sums = [0.0] * len(rows)
    for first in range(0, len(order), _ROWS_AT_ONCE):
        places = order[first : first + _ROWS_AT_ONCE]
        for place, value in zip(places, _sums(policy, pad_id, [rows[place] for place in places]), strict=True):
            sums[place] = value
    left = iter(sums)
    return [[next(left) for _ in node.rows] for node in nodes]


def _sums(policy: Any, pad_id: int, rows: Sequence[tuple[tuple[int, ...], int]]) -> list[float]:
    """Of (token ids, start) each, in one forward pass; a start of 0 counts from the second token on."""
    import torch

    with torch.inference_mode():
        batch = {name: tensor.to(policy.device) for name, tensor in pad_rows([row for row, _ in rows], pad_id).items()}
        logits = policy(**batch, use_cache=False).logits[:, :-1].float()
        written = batch["input_ids"][:, 1:, None]
        logprobs = logits.log_softmax(-1).gather(-1, written).squeeze(-1).cpu()
    return [
        float(line[max(start, 1) - 1 : len(row) - 1].sum()) for line, (row, start) in zip(logprobs, rows, strict=True)
    ]
