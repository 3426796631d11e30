"""``python -m tasks show PROBLEM``: the search trees of a problem, in the terminal and as a page for a browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from rstar_core.errors import UserError
from rstar_core.io import read_json, read_problems
from rstar_core.mcts.synthesis import is_solved
from rstar_core.reports.pages import Files, write_round_pages, write_tree_pages
from rstar_core.reports.rounds import few_columns
from rstar_core.reports.thinking import printable
from rstar_core.reports.tree_page import facts, outline
from rstar_core.shards import stream_trees
from rstar_core.types import Problem
from tasks.runner.workspace import ARTIFACTS, PROBLEMS

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
        print(f"in a browser: {_round_page(given.round)}")
        return
    problem = _problem(problems, given.problem)
    its = list(stream_trees(trees, [problem.id]))
    if given.tree is not None:
        its = [tree for tree in its if tree.tree_index + 1 == given.tree]
    if not its:
        raise UserError(f"{trees}: no such tree of problem {problem.id}")
    for shown, page in write_tree_pages(its, problems, files_of(given.round), PAGES / given.round):
        print(printable("\n".join([problem.text, facts(shown), *outline(shown.tree)])))
        print(f"\nin a browser: {page}\n")


def files_of(round_id: str) -> Files:
    folder = ARTIFACTS / round_id
    return Files(
        problems=PROBLEMS / "train.parquet",
        benchmark=PROBLEMS / "benchmark.parquet",
        oracle=PROBLEMS / "oracle.parquet",
        trees=folder / "trees",
        trajectories=folder / "trajectories",
        pairs=folder / "pairs",
        predictions=folder / "predictions.parquet",
        findings=folder / "findings.jsonl",
    )


def _round_page(round_id: str) -> Path:
    summary = ARTIFACTS / round_id / "summary.json"
    table = few_columns(read_json(summary)["rounds"]) if summary.exists() else []
    return write_round_pages(round_id, table, files_of(round_id), PAGES / round_id)


def _searched() -> list[str]:
    return sorted(path.parent.name for path in ARTIFACTS.glob("*/trees"))


def _names(trees: Path) -> str:
    """Some problems to look at, solved and not."""
    solved: dict[str, bool] = {}
    for tree in stream_trees(trees):
        solved[tree.problem_id] = solved.get(tree.problem_id, False) or is_solved(tree)
    lines = []
    for what, wanted in (("solved", True), ("not solved", False)):
        its = [name for name, is_one in solved.items() if is_one is wanted]
        lines.append(f"{what}: {len(its)} problems, such as {' '.join(its[:NUM_NAMED])}" if its else f"{what}: none")
    return "\n".join(lines)


def _problem(problems: dict[str, Problem], name: str) -> Problem:
    """The one whose id begins with ``name``."""
    found = [problem for id_, problem in problems.items() if id_.startswith(name)]
    if len(found) != 1:
        raise UserError(f"'{name}' begins the ids of {len(found)} training problems; rstar show names some of them")
    return found[0]
