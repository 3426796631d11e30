"""``python -m tasks show PROBLEM``: the search trees of a problem, in the terminal and as a page for a browser."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rstar_core.curation.claims import Kind
from rstar_core.errors import UserError
from rstar_core.evaluation.accuracies import differences, is_correct
from rstar_core.io import LEDGER, read_json, read_pairs, read_predictions, read_problems, read_table, read_true_states
from rstar_core.mcts.synthesis import is_solved
from rstar_core.reports.round_page import NUM_SHOWN, Section, round_page
from rstar_core.reports.rounds import compact
from rstar_core.reports.thinking import printable
from rstar_core.reports.tree_page import Shown, facts, outline, tree_page
from rstar_core.shards import stream_trees
from rstar_core.store.publishing import publish
from rstar_core.types import PreferencePair, Problem, SearchTree
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
        print(f"in a browser: {_round_page(given.round, problems)}")
        return
    problem = _problem(problems, given.problem)
    its = [tree for tree in stream_trees(trees) if tree.problem_id == problem.id]
    if given.tree is not None:
        its = [tree for tree in its if tree.tree_index + 1 == given.tree]
    if not its:
        raise UserError(f"{trees}: no such tree of problem {problem.id}")
    for shown, page in _write_trees(given.round, {problem.id: problem}, its):
        print(printable("\n".join([problem.text, facts(shown), *outline(shown.tree)])))
        print(f"\nin a browser: {page}\n")


def _write_trees(
    round_id: str, problems: Mapping[str, Problem], trees: Iterable[SearchTree]
) -> list[tuple[Shown, Path]]:
    """A page for each of the trees, which are of ``problems``; what is on it, and where it is."""
    pairs: dict[str, list[PreferencePair]] = {}
    for pair in _pairs(ARTIFACTS / round_id / "pairs"):
        if pair.problem_id in problems:
            pairs.setdefault(pair.problem_id, []).append(pair)
    oracle = PROBLEMS / "oracle.parquet"
    states = read_true_states(oracle) if oracle.exists() else {}
    written = []
    for tree in trees:
        id_ = tree.problem_id
        shown, page = Shown(tree, problems[id_], pairs.get(id_, []), states.get(id_)), PAGES / page_name(tree)
        with publish(page, "w") as handle:
            handle.write(tree_page(shown))
        written.append((shown, page))
    return written


def page_name(tree: SearchTree) -> str:
    return f"{tree.round_id}-{tree.problem_id}-{tree.tree_index + 1}.html"


def _round_page(round_id: str, problems: Mapping[str, Problem]) -> Path:
    """The round's page, with the first tree of each training problem that it names."""
    folder, asked = ARTIFACTS / round_id, {one.id: one for one in read_problems(PROBLEMS / "benchmark.parquet")}
    sections = [_unsolved(folder), _doubts(folder), _differences(folder)]
    named = {str(row[0]) for section in sections for row in section.rows[:NUM_SHOWN]} & problems.keys()
    first = {tree.problem_id: tree for tree in stream_trees(folder / "trees") if tree.tree_index == 0}
    wanted = {id_: problems[id_] for id_ in sorted(named & first.keys())}
    _write_trees(round_id, wanted, [first[id_] for id_ in wanted])
    summary = folder / "summary.json"
    table = compact(read_json(summary)["rounds"]) if summary.exists() else ""
    links = {id_: page_name(first[id_]) for id_ in wanted}
    page = PAGES / f"{round_id}.html"
    with publish(page, "w") as handle:
        handle.write(round_page(f"Round {round_id}", table, sections, {**asked, **problems}, links))
    return page


def _unsolved(folder: Path) -> Section:
    path = folder / "trajectories" / "unsolved.jsonl"
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return Section(
        "Unsolved training problems",
        "The most suspicious labels first: where most solutions agree on another answer, the label may be the mistake.",
        ("level", "label", "majority", "share", "solutions"),
        [
            [row[name] for name in ("problem_id", "level", "label", "majority_answer", "share", "num_solutions")]
            for row in found
        ],
    )


def _doubts(folder: Path) -> Section:
    path = folder / "trajectories" / "ledger.parquet"
    kinds = (Kind.DISAGREEMENT, Kind.UNDECIDED, Kind.TIMEOUT)
    rows = [row for row in read_table(path, LEDGER) if row["kind"] in kinds] if path.exists() else []
    return Section(
        "Claims with a doubt",
        "Two looks or two graders disagree, or cannot tell. Nothing is trained on these.",
        ("kind", "claimed", "label", "answer", "reason"),
        [[row[name] for name in ("problem_id", "kind", "claimed", "label", "answer", "reason")] for row in rows],
    )


def _differences(folder: Path) -> Section:
    path = folder / "predictions.parquet"
    found = differences(read_predictions(path)) if path.exists() else []
    return Section(
        "Held-out problems where System 2 and the policy alone differ",
        "One of the two is right.",
        ("level", "policy alone", "System 2", "right is"),
        [
            [alone.problem_id, alone.level, alone.answer, its.answer, "policy" if is_correct(alone) else "System 2"]
            for alone, its in found
        ],
    )


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


def _pairs(folder: Path) -> Iterator[PreferencePair]:
    for path in sorted(folder.glob("*.parquet")):
        yield from read_pairs(path)
