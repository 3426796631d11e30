"""What a verification could not confirm: the rows of ``ledger.parquet``."""

from __future__ import annotations

from rstar_core.answers.equivalence import GRADER_VERSION
from rstar_core.curation.claims import Finding, Kind
from rstar_core.curation.second_look import printed
from rstar_core.types import LedgerEntry, Problem


def entry(problem: Problem, finding: Finding) -> LedgerEntry:
    """The ledger's row of a finding with a doubt."""
    trajectory, reward, ruling = finding.claim.trajectory, finding.claim.reward, finding.ruling
    return LedgerEntry(
        problem_id=trajectory.problem_id,
        tree_index=trajectory.tree_index,
        leaf=trajectory.leaf,
        kind=finding.kind or Kind.DISAGREEMENT,
        reason=finding.doubt,
        claimed="right" if reward > 0 else "wrong" if reward < 0 else "undecided",
        label=problem.answer,
        answer=trajectory.answer,
        printed=printed(trajectory),
        rule=ruling.rule if ruling else "",
        grader=ruling.version if ruling else GRADER_VERSION,
    )
