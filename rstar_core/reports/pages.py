"""The pages of a round for a browser, from its files: what is worth a look, and the search trees of what it names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rstar_core.curation.claims import Kind
from rstar_core.evaluation.accuracies import differences, is_correct
from rstar_core.io import LEDGER, read_predictions, read_problems, read_table, read_true_states, stream_pairs
from rstar_core.mcts.synthesis import is_solved
from rstar_core.reports.round_page import NUM_SHOWN, Section, round_page
from rstar_core.reports.tree_page import Shown, tree_page
from rstar_core.shards import ROWS_PER_SHARD, stream_trees
from rstar_core.store.publishing import publish
from rstar_core.types import PreferencePair, Problem, SearchTree

ROUND_PAGE = "round.html"


@dataclass(frozen=True, slots=True)
class Files:
    """Where a round's results and its problems lie. Of a round that has not ended, some are not there yet."""

    problems: Path
    benchmark: Path
    oracle: Path
    trees: Path
    trajectories: Path
    pairs: Path
    predictions: Path
    findings: Path


def write_round_pages(
    round_id: str, table: Sequence[Sequence[str]], files: Files, folder: Path, num_trees: int = NUM_SHOWN
) -> Path:
    """The round's page in ``folder``; beside it, those of the first trees of at most ``num_trees`` problems that each
    of its lists names, a solved one among them.

    ``table`` is the rounds so far, header first; empty where there are none.
    """
    problems = {one.id: one for one in read_problems(files.problems)}
    asked = {one.id: one for one in read_problems(files.benchmark)}
    sections = [
        _unsolved(files.trajectories / "unsolved.jsonl"),
        *_findings(files.findings),
        _doubts(files.trajectories / "ledger.parquet"),
        _differences(files.predictions),
    ]
    named = {str(row[0]) for section in sections for row in section.rows[:num_trees]} & problems.keys()
    first = _first_trees(files.trees, named)
    links = {shown.problem.id: page.name for shown, page in write_tree_pages(first, problems, files, folder)}
    page = folder / ROUND_PAGE
    with publish(page, "w") as handle:
        handle.write(round_page(f"Round {round_id}", table, sections, {**asked, **problems}, links))
    return page


def write_tree_pages(
    trees: Iterable[SearchTree], problems: Mapping[str, Problem], files: Files, folder: Path
) -> list[tuple[Shown, Path]]:
    """A page for each of the trees, which are of ``problems``; what is on it, and where it is."""
    its = list(trees)
    pairs = _pairs(files.pairs, {tree.problem_id for tree in its})
    states = read_true_states(files.oracle) if files.oracle.exists() else {}
    written = []
    for tree in its:
        id_ = tree.problem_id
        shown = Shown(tree, problems[id_], pairs.get(id_, []), states.get(id_))
        page = folder / f"{tree.round_id}-{id_}-{tree.tree_index + 1}.html"
        with publish(page, "w") as handle:
            handle.write(tree_page(shown))
        written.append((shown, page))
    return written


def _first_trees(place: Path, problem_ids: set[str]) -> list[SearchTree]:
    """The first tree of each of the problems, and of one that was solved, if there is any among the first."""
    solved = next((tree for tree in islice(stream_trees(place), ROWS_PER_SHARD) if is_solved(tree)), None)
    wanted = problem_ids | ({solved.problem_id} if solved else set())
    return [tree for tree in stream_trees(place, wanted) if tree.tree_index == 0]


def _pairs(folder: Path, problem_ids: set[str]) -> dict[str, list[PreferencePair]]:
    found: dict[str, list[PreferencePair]] = {}
    for path in sorted(folder.glob("*.parquet")):
        for pair in stream_pairs(path):
            if pair.problem_id in problem_ids:
                found.setdefault(pair.problem_id, []).append(pair)
    return found


def _unsolved(path: Path) -> Section:
    names = ("problem_id", "level", "label", "majority_answer", "share", "num_solutions")
    return Section(
        "Unsolved training problems",
        "The most suspicious labels first: where most solutions agree on another answer, the label may be the mistake.",
        ("level", "label", "majority", "share", "solutions"),
        [[row[name] for name in names] for row in _lines(path)],
    )


def _findings(path: Path) -> Iterator[Section]:
    titles = {
        "solution": (
            "Right answers by a wrong step",
            "Of a sample of the solutions that are trained on; the oracle, which no training sees, knows.",
        ),
        "pair": (
            "Preferences that are not as they should be",
            "Of a sample of the pairs: the chosen step is wrong, or the rejected one right. That is label noise.",
        ),
    }
    found = list(_lines(path))
    for kind, (title, what) in titles.items():
        rows = [[row[name] for name in ("problem_id", "step", "text", "fault")] for row in found if row["kind"] == kind]
        yield Section(title, what, ("step", "what it says", "what is wrong"), rows)


def _doubts(path: Path) -> Section:
    kinds = (Kind.DISAGREEMENT, Kind.UNDECIDED, Kind.TIMEOUT)
    rows = [row for row in read_table(path, LEDGER) if row["kind"] in kinds] if path.exists() else []
    return Section(
        "Claims with a doubt",
        "Two looks or two graders disagree, or cannot tell. Nothing is trained on these.",
        ("kind", "claimed", "label", "answer", "reason"),
        [[row[name] for name in ("problem_id", "kind", "claimed", "label", "answer", "reason")] for row in rows],
    )


def _differences(path: Path) -> Section:
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


def _lines(path: Path) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
