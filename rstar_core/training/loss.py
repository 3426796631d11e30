"""The preference loss (paper 3.3), as a function of scores in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def preference_loss(scores: Any, chosen: Any, rejected: Any, weights: Any, *, scale: float = 1.0) -> Any:
    """-Σ weight · log σ(scale · (r(chosen) − r(rejected))): a scalar. The paper's scale is 1.

    ``scores`` are r = tanh(logit), one per text; ``chosen`` and ``rejected`` index them, one entry per pair. With
    ``pair_weights`` this is -1/(P·N) Σ log σ(...) of each node with P·N pairs, averaged over the batch's nodes.
    """
    from torch.nn.functional import logsigmoid

    return -(weights * logsigmoid(scale * (scores[chosen] - scores[rejected]))).sum()


def mean_scores(scores: Any, texts: Any, num_texts: int) -> Any:
    """Scores (n,) of tokens, and the text of each, -> the mean score of each text, (num_texts,)."""
    import torch

    sums = torch.zeros(num_texts, dtype=scores.dtype, device=scores.device).index_add(0, texts, scores)
    return sums / torch.bincount(texts, minlength=num_texts)


def next_token_loss(hidden: Any, embeddings: Any, following: Any) -> Any:
    """Mean cross-entropy, a scalar, of the tokens ``following`` (n,) after ``hidden`` (n, hidden size).

    ``embeddings`` (vocabulary, hidden size) are the model's, for input and output alike.
    """
    from torch.nn.functional import linear

    return mean_cross_entropy(linear(hidden, embeddings), following)


def mean_cross_entropy(logits: Any, labels: Any) -> Any:
    """Of logits (n, vocabulary) in any precision and labels (n,), a scalar; 0 where n is 0."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.float(), labels, reduction="sum") / max(len(labels), 1)


def pair_weights(pairs_per_node: Sequence[int]) -> list[float]:
    """One weight for each pair, in the nodes' order: every node counts the same, however many pairs it has.

    The release sums instead, so that its step size depends on the batch (spec section 7).
    """
    share = 1 / max(len(pairs_per_node), 1)
    return [share / num_pairs for num_pairs in pairs_per_node for _ in range(num_pairs)]
