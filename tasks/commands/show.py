"""``python -m tasks show PROBLEM``: the search trees of a problem, in the terminal and as a page for a browser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from rstar_core.errors import UserError
from rstar_core.io import read_pairs, read_problems, read_true_states
from rstar_core.reports.thinking import printable
from rstar_core.reports.tree_page import Shown, facts, outline, tree_page
from rstar_core.shards import stream_trees
from rstar_core.store.publishing import publish
from rstar_core.types import PreferencePair, Problem, TrueStates
from tasks.commands.workspace import ARTIFACTS, PROBLEMS

PAGES = Path("run/show")
NUM_NAMED = 5


def show(given: argparse.Namespace) -> None:
    """Show what the command line (``tasks/commands/parsers.py``) asks for.

    Raises:
        UserError: there is no such round, problem or tree.
    """
    trees = ARTIFACTS / given.round / "trees"
    if not trees.is_dir():
        raise UserError(f"{trees}: not found; rounds that have searched: {', '.join(_searched()) or 'none'}")
    problems = {problem.id: problem for problem in read_problems(PROBLEMS / "train.parquet")}
    if given.problem is None:
        print(_names(trees))
        return
    problem = _problem(problems, given.problem)
    its = [tree for tree in stream_trees(trees) if tree.problem_id == problem.id]
    if given.tree is not None:
        its = [tree for tree in its if tree.tree_index + 1 == given.tree]
    if not its:
        raise UserError(f"{trees}: no such tree of problem {problem.id}")
    pairs, states = list(_pairs(ARTIFACTS / given.round / "pairs", problem.id)), _states(problem.id)
    for tree in its:
        page = PAGES / f"{tree.round_id}-{problem.id}-{tree.tree_index + 1}.html"
        shown = Shown(tree, problem, pairs, states)
        with publish(page, "w") as handle:
            handle.write(tree_page(shown))
        print(printable("\n".join([problem.text, facts(shown), *outline(tree)])))
        print(f"\nin a browser: {page}\n")


def _searched() -> list[str]:
    return sorted(path.parent.name for path in ARTIFACTS.glob("*/trees"))


def _names(trees: Path) -> str:
    """Some problems to look at, solved and not."""
    solved: dict[str, bool] = {}
    for tree in stream_trees(trees):
        is_right = any((node.reward or 0) > 0 for node in tree.nodes)
        solved[tree.problem_id] = solved.get(tree.problem_id, False) or is_right
    lines = []
    for what, wanted in (("solved", True), ("not solved", False)):
        its = [name for name, is_solved in solved.items() if is_solved is wanted]
        lines.append(f"{what}: {len(its)} problems, such as {' '.join(its[:NUM_NAMED])}" if its else f"{what}: none")
    return "\n".join(lines)


def _problem(problems: dict[str, Problem], name: str) -> Problem:
    """The one whose id begins with ``name``."""
    found = [problem for id_, problem in problems.items() if id_.startswith(name)]
    if len(found) != 1:
        raise UserError(f"'{name}' begins the ids of {len(found)} training problems; rstar show names some of them")
    return found[0]


def _pairs(folder: Path, problem_id: str) -> Iterator[PreferencePair]:
    for path in sorted(folder.glob("*.parquet")):
        yield from (pair for pair in read_pairs(path) if pair.problem_id == problem_id)


def _states(problem_id: str) -> TrueStates | None:
    path = PROBLEMS / "oracle.parquet"
    return read_true_states(path).get(problem_id) if path.exists() else None
