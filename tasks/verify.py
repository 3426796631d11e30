"""Search trees -> trajectories whose verdict stood a second look, and a ledger of those whose verdict did not."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstar_core.answers.equivalence import GRADER_VERSION
from rstar_core.config import SandboxLimits, Verify
from rstar_core.curation.claims import Finding, Kind, claims_of, trees_by_problem, without_answer
from rstar_core.curation.ledger import entry
from rstar_core.curation.second_look import believed, look_again, whole_programs
from rstar_core.curation.suspects import Suspect, ranked
from rstar_core.errors import UserError
from rstar_core.io import LEDGER, read_problems, write_table, write_trajectories
from rstar_core.journal import open_journal
from rstar_core.journal.key import journal_key
from rstar_core.metrics import share_by_level
from rstar_core.reports.verification import report, samples
from rstar_core.shards import stream_trees
from rstar_core.store.publishing import publish, publish_folder
from rstar_core.types import Trajectory


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
    grown = trees_by_problem(its_problems, stream_trees(trees))
    claims = {problem_id: claims_of(its) for problem_id, its in grown.items()}
    answerless = [one for its in grown.values() for one in without_answer(its)]
    limits = whole_programs(sandbox, verify)
    params = {"sandbox": sandbox, "verify": verify, "GRADER_VERSION": GRADER_VERSION}
    with closing(open_journal(journal_key("verify", round_id, (problems, trees), params))) as journal:
        started = time.monotonic()
        findings, voted, level = asyncio.run(look_again(round_id, its_problems, claims, limits, verify, journal))
        seconds = time.monotonic() - started
        kept = believed(findings)
        solved = {trajectory.problem_id for trajectory in kept if trajectory.is_correct}
        by_id = {problem.id: problem for problem in its_problems}
        doubted = [one for one in [*findings, *answerless] if one.kind]
        entries = [entry(by_id[one.claim.trajectory.problem_id], one) for one in doubted]
        suspects = ranked([one for one in voted if one.problem_id not in solved])
        counts = _counts(doubted, kept, suspects)
        with publish_folder(trajectories) as folder:
            write_trajectories(folder / "trajectories.parquet", kept)
            write_table(folder / "ledger.parquet", entries, LEDGER)
            _write_lines(folder / "unsolved.jsonl", map(asdict, suspects))
            (folder / "report.md").write_text(report(round_id, counts, entries, suspects, by_id), encoding="utf-8")
            (folder / "samples.md").write_text(samples(round_id, its_problems, kept), encoding="utf-8")
        journal.discard()
    return {
        "coverage": share_by_level((problem.level, problem.id in solved) for problem in its_problems),
        **counts,
        "timings": {"trajectories/s": round(len(findings) / seconds, 1), "sandbox": level},
    }


def _counts(doubted: Sequence[Finding], kept: Sequence[Trajectory], suspects: Sequence[Suspect]) -> dict[str, int]:
    kinds = Counter(one.kind for one in doubted)
    return {
        "num_trajectories": len(kept),
        "num_correct": sum(trajectory.is_correct for trajectory in kept),
        "num_disagreements": kinds[Kind.DISAGREEMENT],
        "num_undecided": kinds[Kind.UNDECIDED],
        "num_timeouts": kinds[Kind.TIMEOUT],
        "num_without_answer": kinds[Kind.NO_ANSWER],
        "num_unsolved": len(suspects),
        "num_suspect_labels": sum(one.is_stable for one in suspects),
    }


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with publish(path, "w") as handle:
        handle.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
