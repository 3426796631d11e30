"""The PQM of the paper's ablation: the same model, trained to say a step's Q instead of to rank steps (paper 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

from rstar_core.config import Training
from rstar_core.ppm.model import score_of_logits
from rstar_core.ppm.packing import collate_rows, logits_at_ends, pack, packed_hidden
from rstar_core.ppm.rendering import encode_steps
from rstar_core.training.checkpoints import train_on
from rstar_core.training.objective import Objective
from rstar_core.training.trainers import Plan, node_trainer
from rstar_core.types import Question, SearchTree


def valued_rows(
    tokenizer: Any, questions: Mapping[str, Question], tree: SearchTree, max_length: int
) -> list[dict[str, Any]]:
    """A row for each node with visited children: their texts and their Q, without texts beyond ``max_length``."""
    children: dict[int, list[int]] = {}
    for index, node in enumerate(tree.nodes[1:], start=1):
        if node.visit_count:
            children.setdefault(node.parent, []).append(index)
    question = questions[tree.problem_id]
    rows = []
    for its in children.values():
        texts = [(encode_steps(tokenizer, question, tree.steps(index)), tree.nodes[index].q_value) for index in its]
        kept = [(text, value) for text, value in texts if len(text) <= max_length]
        if kept:
            rows.append({"rows": [text for text, _ in kept], "values": [value for _, value in kept]})
    return rows


def train_pqm(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], training: Training, seed: int, scratch: Path
) -> None:
    """Train ``model`` in place on the mean squared error between score and Q, averaged over steps."""
    from datasets import Dataset

    plan = Plan("PQM", training, seed, scratch)
    objective = Objective(lambda batch: batch["counts"], squared_error)
    empty = {"rows": [[tokenizer.pad_token_id]], "values": [nan]}
    train_on(node_trainer(model, tokenizer, Dataset.from_list(rows), empty, collate, objective, plan), scratch)


def squared_error(model: Any, batch: Any, shares: Any) -> Any:
    scores = score_of_logits(logits_at_ends(model, packed_hidden(model, batch), batch))
    is_known = ~batch["values"].isnan()
    return (scores - batch["values"])[is_known].square().sum() / batch["counts"][0].clamp(min=1) * shares[0]


def collate(nodes: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Any]:
    """See ``packing.collate_rows``; ``values`` (number of texts,) are in the order of rows and texts, NaN where a text
    has none; ``counts`` (1,) is how many have one."""
    import torch

    values = torch.tensor([value for node in nodes for value in node["values"]]).float()
    rows = collate_rows([pack([node["rows"]]) for node in nodes], pad_id)
    return {**rows, "values": values, "counts": (~values.isnan()).sum()[None]}
