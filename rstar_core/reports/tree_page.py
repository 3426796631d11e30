"""A search tree as one HTML page that needs nothing else: no network, no other file, no server.

All its text comes from a model or from problems. The page sets it as text only, and its policy (CSP) lets no script
run but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.mcts.synthesis import is_solved
from rstar_core.types import PreferencePair, Problem, SearchTree, Step, TrueStates

_TEMPLATE, _SCRIPT = (Path(__file__).with_suffix(suffix) for suffix in (".html", ".js"))


@dataclass(frozen=True, slots=True)
class Shown:
    """A tree and what is known of it. ``pairs`` are its problem's, ``states`` the true ones where a generator knows."""

    tree: SearchTree
    problem: Problem
    pairs: Sequence[PreferencePair] = ()
    states: TrueStates | None = None


def tree_page(shown: Shown) -> str:
    """The page."""
    script = _SCRIPT.read_text(encoding="utf-8")
    return _TEMPLATE.read_text(encoding="utf-8") % {
        "title": html.escape(f"{shown.tree.round_id} {shown.problem.id} tree {shown.tree.tree_index + 1}"),
        "script_sha256": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "script": script,
        "data": _data(shown),
    }


def _data(shown: Shown) -> str:
    """JSON that holds no ``<``, so that nothing in it can end the element that it stands in."""
    tree, marked = shown.tree, marked_by_pairs(shown.tree, shown.pairs)
    found = {
        "question": shown.problem.text,
        "facts": facts(shown),
        "nodes": [_node(tree, index) for index in range(len(tree.nodes))],
        "best": best_path(tree),
        "chosen": sorted(marked[0]),
        "rejected": sorted(marked[1]),
        "states": list(shown.states.values) if shown.states else [],
    }
    return json.dumps(found, ensure_ascii=True).replace("<", "\\u003c")


def facts(shown: Shown) -> str:
    """What the tree is, in one line."""
    tree, problem = shown.tree, shown.problem
    solved = "solved" if is_solved(tree) else "not solved"
    return (
        f"{tree.round_id}, tree {tree.tree_index + 1} of {problem.id} ({problem.source}, level {problem.level}); "
        f"answer {problem.answer}, {solved}; {len(tree.nodes)} nodes, {tree.num_rollouts} rollouts, "
        f"{tree.num_tokens} tokens"
    )


def _node(tree: SearchTree, index: int) -> dict[str, Any]:
    node = tree.nodes[index]
    return {
        "parent": node.parent,
        "kind": node.step.kind if node.step else None,
        "body": node.step.body if node.step else None,
        "output": node.step.output if node.step else "",
        "visits": node.visit_count,
        "q": round(node.q_value, 4),
        "prior": round(node.initial_value, 4),
        "samples": node.num_samples,
        "terminal": node.terminal,
        "answer": node.answer,
        "reward": node.reward,
    }


def best_path(tree: SearchTree) -> list[int]:
    """The way to the end with the best reward; of equals to the most visited, then to the one with the highest Q."""
    ends = [index for index, node in enumerate(tree.nodes) if node.reward is not None]
    if not ends:
        return []

    def worth(index: int) -> tuple[float, int, float, int]:
        node = tree.nodes[index]
        return node.reward or 0.0, node.visit_count, node.q_value, -index

    return list(tree.path(max(ends, key=worth)))


def marked_by_pairs(tree: SearchTree, pairs: Iterable[PreferencePair]) -> tuple[set[int], set[int]]:
    """The nodes whose steps this round's pairs prefer, and those whose steps they reject."""
    by_steps = {tree.steps(index): index for index in range(len(tree.nodes))}
    chosen: set[int] = set()
    rejected: set[int] = set()
    for pair in pairs:
        if pair.problem_id == tree.problem_id:
            for nodes, side in ((chosen, pair.chosen), (rejected, pair.rejected)):
                nodes.update(_at(by_steps, (*pair.prefix, *side)))
    return chosen, rejected


def _at(by_steps: dict[tuple[Step, ...], int], steps: tuple[Step, ...]) -> list[int]:
    return [by_steps[steps]] if steps in by_steps else []


def outline(tree: SearchTree, width: int = 100) -> Iterable[str]:
    """The tree as indented lines for a terminal: the first line of each step, N, Q, and how it ends."""
    children: dict[int, list[int]] = {}
    for index, node in enumerate(tree.nodes[1:], start=1):
        children.setdefault(node.parent, []).append(index)
    waiting = [(0, -1)]
    while waiting:
        index, depth = waiting.pop()
        if index:
            yield _outline_row(tree, index, depth, width)
        below = sorted(children.get(index, ()), key=lambda one: (tree.nodes[one].visit_count, tree.nodes[one].q_value))
        waiting += [(child, depth + 1) for child in below]


def _outline_row(tree: SearchTree, index: int, depth: int, width: int) -> str:
    node = tree.nodes[index]
    first = next((line for line in node.step.body.splitlines() if line.strip()), "") if node.step else ""
    end = ""
    if node.reward is not None:
        end = "  right" if node.reward > 0 else "  wrong" if node.reward < 0 else "  undecided"
    if node.terminal and node.answer is None:
        end = f"  {node.terminal.replace('_', ' ')}"
    text = "  " * depth + first
    return f"{text[:width]:<{min(width, 60)}}  N {node.visit_count:>2}  Q {node.q_value:+.2f}{end}"
