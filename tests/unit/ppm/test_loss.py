"""The loss against the paper's formula, by hand; and a node counts once, however many pairs it has."""

from __future__ import annotations

import math

import pytest
import torch

from rstar_core.ppm.model import score_of_logits
from rstar_core.training.loss import mean_scores, pair_weights, preference_loss
from rstar_core.training.nodes import collate


def by_hand(logits: list[list[float]], num_positives: list[int]) -> float:
    """The mean over nodes of -1/(P N) Σ log σ(tanh(l+) − tanh(l−)); a node's positives come first."""
    total = 0.0
    for node, split in zip(logits, num_positives, strict=True):
        terms = [
            math.log(1 / (1 + math.exp(math.tanh(bad) - math.tanh(good))))
            for good in node[:split]
            for bad in node[split:]
        ]
        total -= sum(terms) / len(terms)
    return total / len(logits)


def loss_of(logits: list[list[float]], num_positives: list[int]) -> float:
    rows = [
        {
            "rows": [[1, 2]] * len(node),
            "pairs": [(good, bad) for good in range(split) for bad in range(split, len(node))],
        }
        for node, split in zip(logits, num_positives, strict=True)
    ]
    batch = collate([{"nodes": [row]} for row in rows], pad_id=0)
    scores = score_of_logits(torch.tensor([[logit] for node in logits for logit in node]))
    return float(preference_loss(scores, batch["chosen"], batch["rejected"], batch["weights"]))


def test_two_by_two_pairs_of_two_nodes() -> None:
    logits = [[0.5, 2.0, -1.0, 0.1], [-0.3, 0.4, 3.0]]
    assert loss_of(logits, [2, 1]) == pytest.approx(by_hand(logits, [2, 1]), abs=1e-6)


def test_a_batch_twice_as_large_has_no_larger_loss() -> None:
    node = [0.5, 2.0, -1.0, 0.1]
    assert loss_of([node] * 6, [2] * 6) == pytest.approx(loss_of([node], [2]), abs=1e-6)


def test_equal_scores_cost_one_bit() -> None:
    assert loss_of([[0.7, 0.7, 0.7, 0.7]], [2]) == pytest.approx(math.log(2))


def test_scores_are_bounded_so_the_loss_never_vanishes() -> None:
    assert loss_of([[100.0, -100.0]], [1]) == pytest.approx(math.log(1 + math.exp(-2)))


def test_the_weights_of_a_batch_sum_to_one_and_nodes_share_alike() -> None:
    assert pair_weights([4, 1]) == [0.125] * 4 + [0.5]
    assert pair_weights([]) == []


def test_a_texts_mean_score_is_of_its_own_tokens() -> None:
    means = mean_scores(torch.tensor([0.5, -0.5, 1.0, 0.0]), torch.tensor([1, 0, 1, 2]), 3)
    assert means.tolist() == [-0.5, 0.75, 0.0]
