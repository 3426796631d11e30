"""A search and its answers on a terminal: trees while they grow, the solution step by step, each method's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rstar_core.evaluation.methods import SYSTEM
from rstar_core.evaluation.solving import Found, Growing, answers
from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.types import Terminal

if TYPE_CHECKING:
    from rich.table import Table


def answers_table(found: Sequence[Found], verdicts: dict[str, str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("way", "answer", "vote", "trees", "tokens", "seconds", *(["verdict"] if verdicts else [])):
        table.add_column(name, justify="left" if name in ("way", "answer", "verdict") else "right")
    for its in found:
        for number, one in enumerate(answers(its)):
            answer = printable(one.chosen.answer or "") if one.chosen else "none"
            share = f"{one.share:.0%}" if one.share is not None else ""
            costs = ["", "", ""] if number else [str(len(its.trees)), str(its.num_tokens), f"{its.seconds:.1f}"]
            table.add_row(one.way, answer, share, *costs, *([verdicts[one.way]] if verdicts else []))
    return table


def solution_view(found: Found, tree_index: int, leaf: int) -> Any:
    """The chosen solution, step by step, with what its code printed and what the PPM thinks of it."""
    from rich.console import Group
    from rich.text import Text

    tree, is_scored = found.trees[tree_index], found.method.name == SYSTEM
    head = f"the solution of {found.method.name}, tree {tree_index + 1} of {len(found.trees)}"
    lines = [Text(f"{head}; beside each step the PPM's score" if is_scored else head, style="dim")]
    for index in tree.path(leaf):
        node = tree.nodes[index]
        if node.step is None:
            continue
        score = f"  {node.initial_value:+.2f}" if is_scored else ""
        body, *rest = printable(node.step.body).splitlines() or [""]
        lines.append(Text.assemble(("  " + body, "cyan"), (score, "dim")))
        lines += [Text(f"  {line}") for line in rest]
        lines += [Text(f"    -> {line}", style="green") for line in printable(node.step.output).splitlines()]
    return Group(*lines)


def growing_view(growing: Growing, height: int) -> Any:
    """The trees as they stand, as much of them as the terminal has lines for."""
    from rich.text import Text
    from rich.tree import Tree as View

    done = sum(tree.num_rollouts for tree in growing.trees)
    head = f"{growing.method.name}: {done} rollouts, {growing.num_tokens} tokens"
    view = View(Text(head, style="bold"))
    room = max(4, height - 6)
    for number, tree in enumerate(growing.trees, start=1):
        if room <= 0:
            break
        branch = view.add(Text(f"tree {number}", style="dim"))
        room -= 1 + _add_children(branch, tree, ROOT, room - 1)
    return view


def _add_children(view: Any, tree: Tree, index: int, room: int) -> int:
    """Add a node's children, the most visited first, within ``room`` lines; how many lines that took."""
    from rich.text import Text

    used = 0
    for child in sorted(tree[index].children, key=lambda one: -tree[one].visit_count):
        if used >= room:
            break
        node = tree[child]
        first = (printable(node.step.body).splitlines() or [""])[0] if node.step else ""
        q_value = node.value_sum / node.visit_count if node.visit_count else node.value_sum
        style = "green" if node.terminal is Terminal.ANSWERED else "red" if node.terminal else ""
        text = Text.assemble((first[:80], style), (f"  N {node.visit_count}  Q {q_value:+.2f}", "dim"))
        used += 1 + _add_children(view.add(text), tree, child, room - used - 1)
    return used


def printable(text: str) -> str:
    """Without what would steer the terminal: a model wrote it."""
    return "".join(one if one in "\n\t" or one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
