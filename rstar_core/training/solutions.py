"""The loss of encoded solutions: the policy learns what it writes (paper 3.4)."""

from __future__ import annotations

from typing import Any

from rstar_core.training.loss import mean_cross_entropy
from rstar_core.training.objective import Objective

IGNORED = -100  # the label of a token that carries no loss


def next_tokens() -> Objective:
    """Cross-entropy, a mean over the tokens that carry loss; other tokens' logits are not worked out."""

    def count(batch: Any) -> Any:
        return (batch["labels"][:, 1:] != IGNORED).sum()[None]

    def loss(model: Any, batch: Any, shares: Any) -> Any:
        labels = batch["labels"][:, 1:]
        is_counted = labels != IGNORED
        # Padding is on the right, where a causal model does not look, so no mask is needed.
        hidden = model.base_model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
        logits = model.get_output_embeddings()(hidden[is_counted])
        return mean_cross_entropy(logits, labels[is_counted]) * shares[0]

    return Objective(count, loss)
