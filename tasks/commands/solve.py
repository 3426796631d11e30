"""``python -m tasks solve "…"``: ask a trained round a question, and watch it search."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstar_core.answers.equivalence import Grader, Verdict
from rstar_core.config import Params, load_params
from rstar_core.engines.load import has_ppm
from rstar_core.errors import UserError
from rstar_core.evaluation.methods import GREEDY
from rstar_core.evaluation.solving import Found, Growing, Solver, answers, open_solver
from rstar_core.io import read_json
from rstar_core.problems.identity import problem_id
from rstar_core.reports.thinking import answers_table, growing_view, printable, solution_view
from rstar_core.types import Question, SearchTree, Step
from tasks.runner.workspace import ARTIFACTS

if TYPE_CHECKING:
    from rich.console import Console

MAX_CHARS = 20_000  # of a question


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and its answer where the user gave one: it is looked at when all searches have ended."""

    question: Question
    truth: str | None


def solve(given: argparse.Namespace) -> None:
    """Answer what the command line (``tasks/__main__.py``) asks.

    Raises:
        UserError: there is no such round, or no question.
    """
    params = load_params()
    round_id = round_called(given.round)
    asked = list(_questions(given))
    evaluate = params.evaluate.model_copy(update={"num_trees": given.num_trees or params.evaluate.num_trees})
    its = params.model_copy(update={"evaluate": evaluate})
    asyncio.run(_solve_all(asked, ARTIFACTS / round_id, its, given.json))


def round_called(name: str) -> str:
    """The round that is asked for: ``best`` is the one of the best accuracy on all held-out problems.

    Raises:
        UserError: it has not run.
    """
    there = {path.parent.name: path for path in ARTIFACTS.glob("*/policy")}
    if not there:
        raise UserError("no round has run here; make evolve first")
    if name == "best":
        from tasks.runner.tracking import best_round

        summaries = [read_json(path) for path in ARTIFACTS.glob("*/summary.json")]
        rows: list[dict[str, Any]] = max((one["rounds"] for one in summaries), key=len, default=[])
        name = best_round(rows) if rows else sorted(there)[-1]
    if name not in there:
        raise UserError(f"round '{name}' has no policy here; there are: {', '.join(sorted(there))}")
    return name


def _questions(given: argparse.Namespace) -> Iterator[Asked]:
    if given.jsonl:
        if given.question or given.answer:
            raise UserError("--jsonl has questions and answers of its own; leave out the question and --answer")
        yield from _rows(given.jsonl)
        return
    text = given.question
    if text is None:
        text = "" if sys.stdin.isatty() else sys.stdin.read()
    yield asked_for(text, given.answer)


def _rows(path: Path) -> Iterator[Asked]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            text = row.get("problem") or row["question"]
            yield asked_for(str(text), None if row.get("answer") is None else str(row["answer"]))
        except (ValueError, KeyError, AttributeError):
            raise UserError(f"{path}:{number}: not a JSON object with 'problem' or 'question'") from None


def asked_for(text: str, truth: str | None) -> Asked:
    text = text.strip()
    if not text:
        raise UserError('no question; give one: rstar solve "What is 7 * 8?"')
    if len(text) > MAX_CHARS:
        raise UserError(f"the question has {len(text)} characters; at most {MAX_CHARS}")
    return Asked(Question(problem_id(text), text), truth)


# --- solving --------------------------------------------------------------------------------------------------


async def _solve_all(asked: Sequence[Asked], folder: Path, params: Params, is_json: bool) -> None:
    """Load the round once, then answer one question after the other."""
    from rich.console import Console

    console = Console(stderr=is_json, highlight=False)
    ppm = "policy and PPM" if has_ppm(folder / "ppm") else "policy, no PPM: the policy alone"
    console.print(f"{folder.name}: {ppm}", style="dim")
    async with open_solver(folder, params) as solver:
        for number, one in enumerate(asked):
            if number and not is_json:
                console.print()
            found = await _watched(one.question, solver, console)
            verdicts = await _verdicts(found, one.truth, solver.grader)
            if is_json:
                print(json.dumps(_row(one, found, verdicts), ensure_ascii=False), flush=True)
            else:
                _show(console, one, found, verdicts)


async def _watched(question: Question, solver: Solver, console: Console) -> list[Found]:
    """What each method found; on a terminal its trees are shown while they grow."""
    from rich.live import Live

    found: list[Found] = []
    if console.is_terminal:
        console.print(printable(question.text), style="bold")
    for method in solver.methods:
        growing = Growing(method)
        work = asyncio.ensure_future(solver.find(question, growing))
        with Live(console=console, transient=True, auto_refresh=False) as live:
            while not work.done():
                if console.is_terminal:
                    live.update(growing_view(growing, console.height), refresh=True)
                await asyncio.wait([work], timeout=0.1)
        found.append(await work)
    return found


async def _verdicts(found: Sequence[Found], truth: str | None, grader: Grader) -> dict[str, str]:
    """By way of answering, where the user knows the answer."""
    if truth is None:
        return {}
    chosen = {one.way: one.chosen for its in found for one in answers(its)}
    return {
        way: await grader.verdict(truth, one.answer) if one and one.answer else Verdict.DIFFERENT
        for way, one in chosen.items()
    }


# --- showing --------------------------------------------------------------------------------------------------


def _show(console: Console, asked: Asked, found: Sequence[Found], verdicts: dict[str, str]) -> None:
    if not console.is_terminal:
        console.print(printable(asked.question.text), style="bold")
    best = found[-1]
    chosen = answers(best)[0].chosen
    if chosen is not None:
        console.print(solution_view(best, chosen.tree_index, chosen.leaf))
    console.print(answers_table(found, verdicts))


def _row(asked: Asked, found: Sequence[Found], verdicts: dict[str, str]) -> dict[str, Any]:
    return {
        "problem": asked.question.text,
        **({"answer": asked.truth} if asked.truth is not None else {}),
        "methods": [
            {
                "way": one.way,
                "answer": one.chosen.answer if one.chosen else None,
                "share": one.share,
                "steps": steps_of(its.trees[one.chosen.tree_index], one.chosen.leaf) if one.chosen else [],
                "scores": list(one.chosen.scores) if one.chosen and its.method.name != GREEDY else [],
                "num_tokens": its.num_tokens,
                "seconds": round(its.seconds, 3),
                **({"verdict": verdicts[one.way]} if verdicts else {}),
            }
            for its in found
            for one in answers(its)
        ],
    }


def steps_of(tree: SearchTree, leaf: int) -> list[dict[str, str]]:
    def row(step: Step) -> dict[str, str]:
        return {"kind": step.kind, "body": step.body, "output": step.output}

    return [row(step) for step in tree.steps(leaf)]
