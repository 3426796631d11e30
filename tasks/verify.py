"""Search trees -> trajectories whose verdict stood a second look, and a ledger of those whose verdict did not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rstar_core.answers.equivalence import GRADER_VERSION
from rstar_core.config import SandboxLimits, Verify
from rstar_core.curation.claims import Kind
from rstar_core.curation.ledger import entry
from rstar_core.curation.order import by_problem
from rstar_core.curation.second_look import Looked, Looker, believed, look_again, open_looker, whole_programs
from rstar_core.curation.suspects import Suspect, ranked
from rstar_core.errors import UserError
from rstar_core.io import (
    LEDGER,
    TRAJECTORIES,
    read_problems,
    stream_table,
    stream_trajectories,
    table_writer,
    write_lines,
)
from rstar_core.journal import open_journal
from rstar_core.journal.key import journal_key
from rstar_core.machine.variables import RAY_ADDRESS
from rstar_core.metrics import share_by_level
from rstar_core.reports.verification import report, samples
from rstar_core.shards import stream_trees
from rstar_core.store.publishing import publish_folder
from rstar_core.types import LedgerEntry
from tasks.runner.looking import on_nodes


def verify(
    *, round_id: str, problems: Path, trees: Path, trajectories: Path, sandbox: SandboxLimits, verify: Verify
) -> dict[str, Any]:
    """Look again at what the search found, and keep the solutions whose verdict can be believed.

    A solution that the search calls right is run again as one program and must print what it printed; where its last
    line and the answer are plain numbers, they must be the same. Its answer is compared with the truth again, and for
    a drawn share math-verify alone is asked too, which must not say different. The answer of one that the search
    calls wrong is compared once more. What is undecided, or contradicts itself, is neither right nor wrong: it is in
    ``ledger.parquet`` only, and so are solutions that end without an answer, with the reason. Beside it in
    ``trajectories``: ``trajectories.parquet`` by problem, tree and leaf; ``unsolved.jsonl``, the problems whose label
    may be the mistake, the most suspicious first; ``report.md`` and ``samples.md`` for people. Killed and
    started again, the stage goes on with the problems it had not looked at.

    Metrics: ``coverage`` (share of all problems with a verified correct trajectory, by ``all`` and ``level_<n>``),
    ``num_trajectories``, ``num_correct``, ``num_disagreements``, ``num_undecided``, ``num_timeouts``,
    ``num_without_answer``, ``num_unsolved`` and ``num_suspect_labels``.

    Raises:
        UserError: an input is missing or empty, or a tree's problem is not among the problems.
    """
    its_problems = read_problems(problems)
    if not its_problems:
        raise UserError(f"{problems}: no training problems; add a source with split 'train' to ingest.sources")
    by_id = {problem.id: problem for problem in its_problems}
    grown = by_problem(its_problems, stream_trees(trees), lambda tree: tree.problem_id, "trees")
    params = {"sandbox": sandbox, "verify": verify, "GRADER_VERSION": GRADER_VERSION}
    with closing(open_journal(journal_key("verify", round_id, (problems, trees), params))) as journal:
        started = time.monotonic()
        with publish_folder(trajectories) as folder:
            look = partial(look_again, f"verify {round_id}", len(its_problems), grown, verify, journal=journal)
            total = asyncio.run(_looked(look, whole_programs(sandbox, verify), verify, folder))
            seconds = time.monotonic() - started
            suspects = ranked([one for one in total.voted if one.problem_id not in total.solved])
            counts = _counts(total, suspects)
            write_lines(folder / "unsolved.jsonl", map(asdict, suspects))
            entries = (LedgerEntry(**row) for row in stream_table(folder / "ledger.parquet", LEDGER))
            (folder / "report.md").write_text(report(round_id, counts, entries, suspects, by_id), encoding="utf-8")
            verified = partial(stream_trajectories, folder / "trajectories.parquet")
            (folder / "samples.md").write_text(samples(round_id, by_id, verified), encoding="utf-8")
        journal.discard()
    return {
        "coverage": share_by_level((problem.level, problem.id in total.solved) for problem in its_problems),
        **counts,
        "timings": {"trajectories/s": round(total.num_looked / seconds, 1), "sandbox": total.level},
    }


@dataclass(slots=True)
class _Total:
    """What the looks at all problems add up to."""

    num_looked: int = 0
    num_kept: int = 0
    num_correct: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    solved: set[str] = field(default_factory=set)
    voted: list[Suspect] = field(default_factory=list)
    level: str = ""


async def _looked(
    look: Callable[..., AsyncIterator[Looked]], limits: SandboxLimits, section: Verify, folder: Path
) -> _Total:
    """Look on the nodes of a cluster, if one is named, or here."""
    opened: AbstractAsyncContextManager[Looker] = (
        on_nodes(limits, section) if RAY_ADDRESS.get() else open_looker(limits, section)
    )
    async with opened as looker:
        return await _write(look(looker=looker), folder)


async def _write(looks: AsyncIterator[Looked], folder: Path) -> _Total:
    """Write what can be believed and what cannot, as it comes."""
    total = _Total()
    with (
        table_writer(folder / "trajectories.parquet", TRAJECTORIES) as keep,
        table_writer(folder / "ledger.parquet", LEDGER) as list_doubt,
    ):
        async for one in looks:
            total.num_looked += len(one.findings)
            total.level = one.level
            total.voted += [one.voted] if one.voted else []
            for finding in (*one.findings, *one.answerless):
                if finding.kind:
                    total.kinds[finding.kind] += 1
                    list_doubt(entry(one.problem, finding))
            for trajectory in believed(one.findings):
                keep(trajectory)
                total.num_kept += 1
                total.num_correct += trajectory.is_correct
                if trajectory.is_correct:
                    total.solved.add(one.problem.id)
    return total


def _counts(total: _Total, suspects: Sequence[Suspect]) -> dict[str, int]:
    return {
        "num_trajectories": total.num_kept,
        "num_correct": total.num_correct,
        "num_disagreements": total.kinds[Kind.DISAGREEMENT],
        "num_undecided": total.kinds[Kind.UNDECIDED],
        "num_timeouts": total.kinds[Kind.TIMEOUT],
        "num_without_answer": total.kinds[Kind.NO_ANSWER],
        "num_unsolved": len(suspects),
        "num_suspect_labels": sum(one.is_stable for one in suspects),
    }
