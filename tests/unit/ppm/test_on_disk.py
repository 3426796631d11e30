"""What a training reads from disk is what it would read from memory."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from rstar_core.ppm.rendering import EncodedNode
from rstar_core.training.on_disk import EXAMPLES, StoredNodes, dataset_at
from rstar_core.training.preferences import groups_of, shuffled

NODES = [
    EncodedNode(tuple((number, text) for text in range(2 + number % 3)), ((0, 1),), number % 4 == 0, f"p{number // 7}")
    for number in range(2500)
]


def test_stored_nodes_are_those_that_were_given(tmp_path: Path) -> None:
    stored = StoredNodes(tmp_path / "some" / "nodes.arrow", iter(NODES))
    assert list(stored) == NODES and len(stored) == len(NODES)
    assert [stored[7], stored[-1]] == [NODES[7], NODES[-1]]
    assert stored[3:2000:7] == NODES[3:2000:7]
    assert shuffled(stored, 0.1, 5) == shuffled(NODES, 0.1, 5)
    assert random.Random(1).sample(stored, 9) == random.Random(1).sample(NODES, 9)


def test_no_nodes_are_none(tmp_path: Path) -> None:
    stored = StoredNodes(tmp_path / "nodes.arrow", [])
    assert not stored and list(stored) == [] and stored[::2] == []


def test_a_group_has_nodes_of_one_problem(tmp_path: Path) -> None:
    groups = list(groups_of(NODES))
    assert [node for group in groups for node in group] == NODES
    assert {len(group) for group in groups} == {4, 3, 1} and all(
        len({one.problem_id for one in g}) == 1 for g in groups
    )


def test_a_shuffled_share_is_grouped_like_the_whole() -> None:
    some = shuffled(NODES, 0.5, 5)
    groups = list(groups_of(some))
    of_problem = Counter(node.problem_id for node in some)
    assert len(some) == len(NODES) // 2
    assert len(groups) == sum(-(-number // 4) for number in of_problem.values()), "as few as there can be"


def test_a_dataset_has_the_rows_that_were_given(tmp_path: Path) -> None:
    rows = [{"input_ids": list(range(number % 5 + 1)), "labels": [-100] * (number % 5 + 1)} for number in range(1500)]
    found = dataset_at(tmp_path / "rows.arrow", iter(rows), EXAMPLES)
    assert list(found) == rows
