"""Training problems + policy + guide -> search trees (paper 3.2)."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rstar_core.answers.equivalence import GRADER_VERSION, Grader
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import Engine, Round, SandboxLimits, Search, Seed
from rstar_core.engines.load import load_policy
from rstar_core.errors import UserError
from rstar_core.io import read_problems
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import JournalKey, journal_key
from rstar_core.mcts.recording import recorded_trees
from rstar_core.mcts.synthesis import Synthesis, Totals, budget_of, recorded
from rstar_core.progress import say_kept
from rstar_core.sandbox.load import open_sandbox
from rstar_core.sandbox.memo import RememberingSandbox
from rstar_core.shards import write_trees
from rstar_core.store.publishing import publish_folder
from rstar_core.types import Problem
from tasks.runner.processes import num_at_once
from tasks.runner.together import do_together


def synthesize(
    *,
    round_id: str,
    problems: Path,
    policy: Path,
    ppm: Path,
    trees: Path,
    seed: Seed,
    engine: Engine,
    search: Search,
    sandbox: SandboxLimits,
    round: Round,
) -> dict[str, Any]:
    """Search for solutions of every training problem; terminals are judged by the ground truth.

    A problem that its first tree leaves unsolved gets more trees, up to ``round.num_trees``, each with its own seed.
    A finished tree is on disk at once: killed and started again, the stage goes on with the others. Metrics:
    ``num_problems``, ``num_trees``, ``num_failed`` (trees whose search was given up), ``num_too_long`` (trees in which
    the policy had no room for a step somewhere), ``num_rollouts``, ``num_tokens`` (that the policy wrote),
    ``num_solved`` and ``coverage`` by the search's own verdicts; ``verify`` has the last word.

    Raises:
        UserError: an input is missing or empty, or the guide needs a PPM that its round does not have.
    """
    inputs = Inputs(round_id, problems, policy, ppm, seed, engine, search, sandbox, round)
    its_problems = inputs.read_problems()
    with closing(open_journal(inputs.key())) as journal:
        started, num_before = time.monotonic(), len(journal)
        say_kept(f"synthesize {round_id}", num_before)
        level = do_together(inputs, journal)
        seconds = time.monotonic() - started
        totals = Totals()
        with publish_folder(trees) as folder:
            write_trees(folder, totals.count(recorded_trees(journal, recorded(journal, its_problems, round.num_trees))))
        journal.discard()
    if totals.num_too_long:
        print(
            f"{round_id}: in {totals.num_too_long} of {totals.num_trees} trees a text left no room for a step; "
            "such rollouts count as failed (too_long)",
            file=sys.stderr,
        )
    return {**totals.metrics(its_problems), "timings": {**totals.rates(num_before, seconds), "sandbox": level}}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the trees depend on: all that another worker needs to grow them too (``Shared``)."""

    round_id: str
    problems: Path
    policy: Path
    ppm: Path
    seed: Seed
    engine: Engine
    search: Search
    sandbox: SandboxLimits
    round: Round

    def key(self) -> JournalKey:
        sections = {name: getattr(self, name) for name in ("seed", "engine", "search", "sandbox")}
        params = {**sections, f"rounds.{self.round_id}": self.round, "GRADER_VERSION": GRADER_VERSION}
        return journal_key("synthesize", self.round_id, (self.problems, self.policy, self.ppm), params)

    def read_problems(self) -> list[Problem]:
        if its := read_problems(self.problems):
            return its
        raise UserError(f"{self.problems}: no training problems; add a source with split 'train' to ingest.sources")

    @property
    def what(self) -> str:
        return f"synthesize {self.round_id}"

    def files(self) -> tuple[Path, ...]:
        return self.problems, self.policy, self.ppm

    def num_trees(self) -> int | None:
        return len(self.read_problems()) if self.round.num_trees == 1 else None

    def work(self, journal: Journal) -> str:
        """Have all trees in ``journal``; the isolation that their code ran under."""
        problems, models = self.read_problems(), load_policy(self.policy, self.engine)
        policy, guide = models.sampler(self.search), models.guide(self.round.guide, self.ppm)

        async def search() -> str:
            async with models, open_sandbox(self.sandbox) as opened, GraderSandbox() as graders:
                box, grader = RememberingSandbox(opened), Grader(graders)
                budget = budget_of(self.search, self.round)
                synthesis = Synthesis(self.round_id, self.seed, policy, guide, box, grader, budget, journal)
                await synthesis.run(problems, self.round.num_trees, partial(num_at_once, self.engine))
                return box.level

        return asyncio.run(search())
