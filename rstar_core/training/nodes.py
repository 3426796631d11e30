"""Nodes with their pairs as batches, and the loss of such a batch (paper 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rstar_core.config import TrainPpm
from rstar_core.ppm.model import score_of_logits
from rstar_core.ppm.packing import collate_rows, logits_at_ends, own_tokens, pack, packed_hidden
from rstar_core.training.loss import mean_scores, next_token_loss, pair_weights, preference_loss
from rstar_core.training.objective import Objective


def collate(groups: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Any]:
    """The texts of each group of nodes packed into a row (see ``packing``), and the pairs as indices into all texts.

    ``following`` are the tokens that chosen texts have beyond their node's start, and ``before`` (2, number of them)
    the row and place of the token before each. ``counts`` are the nodes that have pairs, and those tokens.
    """
    import torch

    num_texts = 0
    pairs: list[tuple[int, int]] = []
    rows, found = [], []
    for number, group in enumerate(groups):
        row, first = pack([node["rows"] for node in group["nodes"]]), num_texts
        rows.append(row)
        for node in group["nodes"]:
            pairs += [(num_texts + chosen, num_texts + rejected) for chosen, rejected in node["pairs"]]
            for chosen in sorted({chosen for chosen, _ in node["pairs"]}):
                found += [(number, *token) for token in own_tokens(row, num_texts - first + chosen)]
            num_texts += len(node["rows"])
    written = torch.tensor(found, dtype=torch.long).reshape(-1, 3).T
    pairs_per_node = [len(node["pairs"]) for group in groups for node in group["nodes"] if node["pairs"]]
    return {
        **collate_rows(rows, pad_id),
        "before": written[:2],
        "following": written[2],
        "chosen": torch.tensor([chosen for chosen, _ in pairs], dtype=torch.long),
        "rejected": torch.tensor([rejected for _, rejected in pairs], dtype=torch.long),
        "weights": torch.tensor(pair_weights(pairs_per_node)),
        "counts": torch.tensor([len(pairs_per_node), len(found)]),
    }


def empty_row(pad_id: int) -> dict[str, Any]:
    """A row of ``collate`` without a pair."""
    return {"nodes": [{"rows": [[pad_id]], "pairs": []}]}


def preferences(params: TrainPpm) -> Objective:
    """The PPM's loss of a batch of ``collate``: on preferences, and what ``params`` have beside it."""

    def loss_of(model: Any, batch: Any, shares: Any) -> Any:
        hidden = packed_hidden(model, batch)
        logits = logits_at_ends(model, hidden, batch)
        pairs = [batch[name] for name in ("chosen", "rejected", "weights")]
        loss = preference_loss(score_of_logits(logits), *pairs, scale=params.loss_scale)
        if params.token_weight:
            row, place, text = batch["own"]
            means = mean_scores(score_of_logits(model.score(hidden[row, place])), text, len(logits))
            loss = loss + params.token_weight * preference_loss(means, *pairs, scale=params.loss_scale)
        loss = loss * shares[0]
        if params.lm_weight:
            embeddings = model.get_input_embeddings().weight
            of_tokens = next_token_loss(hidden[*batch["before"]], embeddings, batch["following"])
            loss = loss + params.lm_weight * of_tokens * shares[1]
        return loss

    return Objective(lambda batch: batch["counts"], loss_of)
