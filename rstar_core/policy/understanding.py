"""How much of what a policy was not trained on it writes as it is written there: whether it has learnt or memorised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rstar_core.policy.rendering import encode_example
from rstar_core.types import SftExample

_AT_ONCE = 32


def share_written(model: Any, tokenizer: Any, examples: Sequence[SftExample]) -> float | None:
    """The share of ``examples`` of which the policy, greedy, would write every token that is its own; None of none.

    One forward pass tells: as long as it writes what stands there, it reads what stands there. The executor's output
    is given. Where there are many right programs it is a lower bound of the share that it solves.
    """
    rows = sorted((encode_example(tokenizer, one.question, one.steps) for one in examples), key=_length)
    written = [
        is_written for start in range(0, len(rows), _AT_ONCE) for is_written in _written(model, rows[start:][:_AT_ONCE])
    ]
    return sum(written) / len(written) if written else None


def _length(row: dict[str, list[int]]) -> int:
    return len(row["input_ids"])


def _written(model: Any, rows: Sequence[dict[str, list[int]]]) -> list[bool]:
    """Padding is on the right, where a causal model does not look."""
    import torch

    width = max(map(_length, rows))
    ids = torch.tensor([[*row["input_ids"], *[0] * (width - _length(row))] for row in rows])
    is_own = torch.tensor([[*row["completion_mask"], *[0] * (width - _length(row))] for row in rows]).bool()
    model.eval()
    with torch.inference_mode():
        best = model(input_ids=ids.to(model.device), use_cache=False).logits.argmax(-1).cpu()
    is_right = (best[:, :-1] == ids[:, 1:]) | ~is_own[:, 1:]
    found: list[bool] = is_right.all(-1).tolist()
    return found
