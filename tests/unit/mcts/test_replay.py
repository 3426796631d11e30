"""A recorded search, run again without its engines, is the same tree; a record survives the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rstar_core.io import row_from_tree, tree_from_row
from rstar_core.mcts.replay import RecordedPolicy, RecordedReward
from rstar_core.shards import read_trees, stream_recorded_trees, write_trees
from rstar_core.types import Question, SearchTree, Step
from tests.unit.mcts.scripts import answer, code, end, grow, priors

VALUES = ("1", "2", "3", "4", "5")


def say(question: Question, prefix: tuple[Step, ...]) -> list[str]:
    if not prefix:
        return [code(f"n = {value}") for value in VALUES] + [code("raise"), "cut off"]
    if prefix[-1].kind == "code_end":
        return [answer(prefix[-1].output.strip()), answer("?")]
    return [end(f"print({value})") for value in VALUES[len(prefix) :]] + [code(f"n = n + {len(prefix)}")]


def searched(num_parallel_leaves: int, **engines: Any) -> SearchTree:
    settings = {
        "record_generations": True,
        "num_candidates": 4,
        "num_rollouts": 12,
        "num_parallel_leaves": num_parallel_leaves,
        "seed": 7,
    }
    guide = priors({f"n = {value}": int(value) / 10 for value in VALUES})
    tree = grow(say, **{"guide": guide, "is_drawn": True, **settings, **engines})
    return tree.freeze("q", "r1", 0)


@pytest.mark.parametrize("num_parallel_leaves", [1, 4])
def test_the_replayed_tree_is_the_tree(num_parallel_leaves: int) -> None:
    tree = searched(num_parallel_leaves)
    assert searched(num_parallel_leaves, policy=RecordedPolicy(tree), guide=RecordedReward(tree)) == tree


def test_every_expanded_node_is_recorded_once_with_all_that_was_sampled() -> None:
    tree = searched(1)
    nodes = [generation.node for generation in tree.generations]
    expanded = {node.parent for node in tree.nodes[1:]} | {
        index for index, node in enumerate(tree.nodes) if node.terminal in ("code_error", "no_valid_candidate")
    }
    assert len(nodes) == len(set(nodes)) and set(nodes) >= expanded
    assert all(len(generation.candidates) == 4 for generation in tree.generations)
    assert sum(c.num_tokens for generation in tree.generations for c in generation.candidates) == tree.num_tokens


def test_a_place_that_was_never_seen_is_no_guess() -> None:
    tree = searched(1)
    with pytest.raises(KeyError):
        grow(say, policy=RecordedPolicy(tree), guide=RecordedReward(tree), num_candidates=4, num_rollouts=60, seed=7)


def test_a_record_survives_json_and_parquet(tmp_path: Path) -> None:
    tree = searched(1)
    assert tree_from_row(json.loads(json.dumps(row_from_tree(tree)))) == tree
    write_trees(tmp_path, [tree])
    assert list(stream_recorded_trees(tmp_path)) == [tree]
    (bare,) = read_trees(tmp_path)
    assert bare.nodes == tree.nodes and bare.generations == ()
