"""Held-out problems + policy + PPM -> accuracies: the policy alone, and the whole system (paper 4.1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rstar_core.answers.equivalence import GRADER_VERSION, Grader
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import Engine, Evaluate, Round, SandboxLimits, Search, Seed
from rstar_core.engines.load import has_ppm, load_policy
from rstar_core.errors import UserError
from rstar_core.evaluation.accuracies import accuracies
from rstar_core.evaluation.marking import MethodAnswers, labelled, method_answers, record_key
from rstar_core.evaluation.methods import GREEDY, Method, methods, num_trees_by_method
from rstar_core.evaluation.oracle import Finding, Oracle, judge_pairs, judge_trajectories, step_accuracy
from rstar_core.io import read_pairs, read_problems, read_trajectories, read_true_states, write_lines, write_predictions
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import JournalKey, journal_key
from rstar_core.mcts.scheduler import Job, grow, in_mixed_order
from rstar_core.mcts.search import Parts, guides_judge
from rstar_core.progress import say_kept
from rstar_core.sandbox.base import Sandbox
from rstar_core.sandbox.load import open_sandbox
from rstar_core.sandbox.memo import RememberingSandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import PreferencePair, Problem, Question, Trajectory
from tasks.runner.processes import num_at_once
from tasks.runner.together import do_together


def evaluate(
    *,
    round_id: str,
    benchmark: Path,
    policy: Path,
    ppm: Path,
    oracle: Path,
    pairs: Path | None = None,
    trajectories: Path | None = None,
    predictions: Path,
    findings: Path,
    seed: Seed,
    engine: Engine,
    search: Search,
    sandbox: SandboxLimits,
    evaluate: Evaluate,
    round: Round | None,
) -> dict[str, Any]:
    """Answer the held-out problems; the truth is looked at only when all searches, of all methods, have ended.

    The policy alone answers all of them, the other methods ``round.num_system_problems``: the same ones in every round
    of as many, and among those of a round of more.

    Metrics, each a share by ``all`` and ``level_<n>``: ``policy_pass@1`` is the policy alone, greedy, one sample;
    ``policy_pass@1_paired`` likewise, of the problems that the others answer.
    With N trees for each problem (``num_trees``) and all their answered terminals: ``system@N`` is the answer with
    the most weight, a terminal's being its frequency times (1 + the PPM's score) / 2; ``best@N`` is the terminal that
    the PPM scores best; ``majority@N`` lets each tree's best terminal vote; ``pass@N`` says whether any is right,
    which only the truth can tell. ``maj@K`` and ``flat_pass@K`` are self-consistency and its bound: as many samples
    as the trees have rollouts (``num_samples``), without search or PPM. All but the first are null without a PPM, and
    where no problem is for them.
    ``sources`` has the shares by source of the problems: each may be a benchmark of its own.
    ``interval`` has for each the 95 % bootstrap interval over problems, and for ``system_minus_policy``, paired.
    ``curve`` has them by the number of trees. ``ppm_accuracy_benchmark`` is how often the PPM ranks a right terminal
    above a wrong one of the same problem: the mean over problems that have both; ties are half.

    By the oracle, null without one: ``ppm_step_accuracy`` (of the system's solutions, see ``oracle.step_accuracy``),
    and of the round's own training data ``pair_label_noise``, ``pair_chosen_right``, ``pair_rejected_wrong`` and
    ``right_with_wrong_step``, whose cases are the rows of ``findings`` (JSON lines, ``oracle.Finding``). Beside them
    ``num_problems``, ``num_system_problems``, ``num_tokens`` (that the policy wrote, also by method),
    ``num_undecided`` answers and ``num_failed`` trees whose search was given up: both wrong; and ``num_too_long``
    trees in which the policy had no room for a step somewhere.

    Raises:
        UserError: an input is missing or empty.
    """
    num_system_problems = round.num_system_problems if round else 0
    inputs = Inputs(round_id, benchmark, policy, ppm, seed, engine, search, sandbox, evaluate, num_system_problems)
    problems = inputs.read_problems()
    with closing(open_journal(inputs.key())) as journal:
        started, num_before = time.monotonic(), len(journal)
        say_kept(f"evaluate {round_id}", num_before)
        level = do_together(inputs, journal)
        seconds = time.monotonic() - started

        answers, judged, found = asyncio.run(_marked_answers(inputs, problems, journal, oracle, pairs, trajectories))
        predictions_ = [one for its in answers for one in its.predictions]
        write_predictions(predictions, predictions_)
        write_lines(findings, map(asdict, found))
        share = 1 - num_before / max(len(journal), 1)  # what the journal had is not this run's
        journal.discard()
    totals = {name: sum(its.counts[name] for its in answers) for name in ("num_tokens", "num_failed", "num_too_long")}
    tokens = {f"num_tokens_{its.method}": its.counts["num_tokens"] for its in answers}
    timings = {"tokens/s": _to_tenths(totals["num_tokens"] * share / seconds), "sandbox": level}
    return {**accuracies(predictions_), **judged, **totals, **tokens, "timings": timings}


def _to_tenths(rate: float) -> float:
    """In ``evaluate`` the name ``round`` is a section's."""
    return round(rate, 1)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the searches depend on: all that another worker needs to share them (``Shared``).

    The truth is no part of it: a search is given a question, which has no answer.
    """

    round_id: str
    benchmark: Path
    policy: Path
    ppm: Path
    seed: Seed
    engine: Engine
    search: Search
    sandbox: SandboxLimits
    evaluate: Evaluate
    num_system_problems: int | None

    def key(self) -> JournalKey:
        names = ("seed", "engine", "search", "sandbox", "evaluate", "num_system_problems")
        params = {**{name: getattr(self, name) for name in names}, "GRADER_VERSION": GRADER_VERSION}
        return journal_key("evaluate", self.round_id, (self.benchmark, self.policy, self.ppm), params)

    def read_problems(self) -> list[Problem]:
        if problems := read_problems(self.benchmark):
            return of_each_source(problems, self.evaluate.max_problems, self.seed)
        raise UserError(
            f"{self.benchmark}: no held-out problems; add a source with split 'benchmark' to ingest.sources"
        )

    @property
    def has_system(self) -> bool:
        return self.num_system_problems != 0 and has_ppm(self.ppm)

    def num_trees_by_method(self) -> dict[str, int]:
        return num_trees_by_method(self.evaluate, self.has_system)

    def problems_of(self, method: str, problems: Sequence[Problem]) -> list[Problem]:
        """Those of ``problems`` that ``method`` answers, in their order."""
        if method == GREEDY:
            return list(problems)
        return drawn(problems, self.num_system_problems, self.seed, "system")

    @property
    def what(self) -> str:
        return f"evaluate {self.round_id}"

    def files(self) -> tuple[Path, ...]:
        return self.benchmark, self.policy, self.ppm

    def num_trees(self) -> int | None:
        problems = self.read_problems()
        return sum(len(self.problems_of(name, problems)) * trees for name, trees in self.num_trees_by_method().items())

    def work(self, journal: Journal) -> str:
        """Have the trees of all methods in ``journal``; the isolation that their code ran under."""
        problems, models = self.read_problems(), load_policy(self.policy, self.engine)
        its_methods = methods(models, self.ppm if self.has_system else None, self.search, self.evaluate)

        async def search() -> str:
            async with models, open_sandbox(self.sandbox) as opened:
                box = RememberingSandbox(opened)
                for method in its_methods:
                    questions = [problem.question for problem in self.problems_of(method.name, problems)]
                    jobs = (
                        _job(self, method, question, index, box)
                        for question in in_mixed_order(questions)
                        for index in range(method.num_trees)
                    )
                    num_jobs = len(questions) * method.num_trees
                    at_once = num_at_once(self.engine, num_jobs)
                    await grow(f"{self.what}, {method.name}", jobs, num_jobs, journal, at_once)
                return box.level

        return asyncio.run(search())


def of_each_source(problems: Sequence[Problem], number: int | None, seed: int) -> list[Problem]:
    """``number`` problems of each source, drawn, all of them in their order; all where there are no more."""
    sources = dict.fromkeys(problem.source for problem in problems)
    chosen = {
        problem.id
        for source in sources
        for problem in drawn([one for one in problems if one.source == source], number, seed, "benchmark")
    }
    return [problem for problem in problems if problem.id in chosen]


def drawn(problems: Sequence[Problem], number: int | None, seed: int, what: str) -> list[Problem]:
    """``number`` of ``problems``, in their order. What a smaller number draws, a larger one draws too."""
    order = sorted(problems, key=lambda problem: derived_seed(seed, what, problem.id))
    chosen = {problem.id for problem in order[:number]}
    return [problem for problem in problems if problem.id in chosen]


def _job(inputs: Inputs, method: Method, question: Question, tree_index: int, sandbox: Sandbox) -> Job:
    return Job(
        key=record_key(method.name, question.id, tree_index),
        question=question,
        round_id=inputs.round_id,
        tree_index=tree_index,
        parts=Parts(method.policy, method.guide, sandbox, guides_judge),
        budget=method.budget,
        seed=derived_seed(inputs.seed, "evaluate", inputs.round_id, method.name, question.id, tree_index),
    )


def read_both(pairs: Path | None) -> list[PreferencePair]:
    """The round's training and validation pairs; r0 has none."""
    return [pair for name in ("train", "validation") for pair in read_pairs(pairs / f"{name}.parquet")] if pairs else []


def read_verified(trajectories: Path | None) -> list[Trajectory]:
    return read_trajectories(trajectories / "trajectories.parquet") if trajectories else []


async def _marked_answers(
    inputs: Inputs,
    problems: Sequence[Problem],
    journal: Journal,
    oracle: Path,
    pairs: Path | None,
    trajectories: Path | None,
) -> tuple[list[MethodAnswers], dict[str, Any], list[Finding]]:
    """The answers of all methods, and what the oracle says of steps and labels. Here the truth is looked at."""
    most = inputs.evaluate.num_judged
    async with open_sandbox(inputs.sandbox) as opened, GraderSandbox() as graders:
        grader, judge = Grader(graders), Oracle(read_true_states(oracle), RememberingSandbox(opened))
        answers = [
            await method_answers(method, inputs.problems_of(method, problems), num_trees, journal, grader)
            for method, num_trees in inputs.num_trees_by_method().items()
        ]
        of_pairs, noise = await judge_pairs(judge, read_both(pairs if most else None), most)
        of_solutions, wrong = await judge_trajectories(judge, read_verified(trajectories if most else None), most)
        finder = {"ppm_step_accuracy": step_accuracy(await labelled(answers[-1], journal, judge))}
    return answers, {**of_pairs, **of_solutions, **finder}, [*wrong, *noise]
