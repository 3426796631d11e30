"""A tree as text that a reviewer can read: one line for each node, below its parent and indented by its depth."""

from __future__ import annotations

from collections.abc import Iterator

from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.types import Node, SearchTree


def render(tree: Tree) -> list[str]:
    """A line of totals, then the nodes in depth-first order, each begun by its index: the order of their making."""
    frozen = tree.freeze("q", "r1", 0)
    return [f"rollouts={frozen.num_rollouts} tokens={frozen.num_tokens}", *_lines(frozen, tree, ROOT, 0)]


def _lines(frozen: SearchTree, tree: Tree, index: int, depth: int) -> Iterator[str]:
    yield f"{index:>3} {'  ' * depth}{_title(frozen.nodes[index])}  {_numbers(frozen.nodes[index])}"
    for child in tree[index].children:
        yield from _lines(frozen, tree, child, depth + 1)


def _title(node: Node) -> str:
    return "root" if node.step is None else f"[{node.step.kind}] {node.step.body.splitlines()[0]}"


def _numbers(node: Node) -> str:
    shown = {
        "N": node.visit_count,
        "Q": f"{node.q_value:+.6f}",
        "prior": f"{node.initial_value:+.6f}",
        "samples": node.num_samples,
        "output": None if node.step is None or not node.step.output else repr(node.step.output),
        "terminal": node.terminal,
        "answer": node.answer,
        "reward": None if node.reward is None else f"{node.reward:+.6f}",
    }
    return " ".join(f"{name}={value}" for name, value in shown.items() if value is not None)
