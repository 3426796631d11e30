"""What a verification could not confirm, for machines (Parquet) and for people (Markdown), and labels to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

from rstar_core.reports.markdown import aligned
from rstar_core.types import Problem

NUM_SHOWN = 20
MAX_SHOWN_CHARS = 60
MIN_SOLUTIONS = 3  # fewer that agree say nothing of a label
Z = 1.96


class Kind(StrEnum):
    DISAGREEMENT = "disagreement"  # two looks, or two graders, say different things
    UNDECIDED = "undecided"
    TIMEOUT = "timeout"
    NO_ANSWER = "no answer"  # the last step gives none


@dataclass(frozen=True, slots=True)
class Entry:
    """A claim with a doubt; a row of ``ledger.parquet``.

    ``claimed`` is the search's verdict: right, wrong or undecided.
    ``printed`` is the last line that the program printed, ``rule`` what the grader decided by.
    """

    problem_id: str
    tree_index: int
    leaf: int
    kind: Kind
    reason: str
    claimed: str
    label: str
    answer: str
    printed: str
    rule: str
    grader: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A problem that no solution solved, with what most solutions say; ``share`` of them agree.

    ``suspicion`` is the lower end of the share's 95 % interval (Wilson 1927): many that agree weigh more than few.
    """

    problem_id: str
    level: int
    label: str
    num_solutions: int
    majority_answer: str | None
    share: float
    suspicion: float
    is_stable: bool


def suspect(problem: Problem, answers: Sequence[str], classes: Sequence[int | None], winner: int | None) -> Suspect:
    """``winner`` is the class of most; stable is an absolute majority of three solutions or more."""
    votes, total = classes.count(winner) if winner is not None else 0, len(answers)
    share = votes / total if total else 0.0
    majority = answers[winner] if winner is not None else None
    is_stable = total >= MIN_SOLUTIONS and share > 0.5
    return Suspect(problem.id, problem.level, problem.answer, total, majority, share, wilson(votes, total), is_stable)


def wilson(votes: int, total: int) -> float:
    """Lower end of the 95 % interval of a share; 0 of nothing."""
    if not total:
        return 0.0
    share, z2 = votes / total, Z * Z
    spread = Z * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, (share + z2 / (2 * total) - spread) / (1 + z2 / total))


def ranked(suspects: Sequence[Suspect]) -> list[Suspect]:
    """The stable ones first, the most suspicious first."""
    return sorted(suspects, key=lambda one: (not one.is_stable, -one.suspicion))


def report(
    round_id: str,
    counts: Mapping[str, int],
    entries: Sequence[Entry],
    suspects: Sequence[Suspect],
    problems: Mapping[str, Problem],
) -> str:
    """``report.md``: counts, the first entries of each kind, and the labels that most need a look."""
    parts = [f"# Verification of {round_id}", aligned([["what", "count"], *counts.items()])]
    for kind in Kind:
        its = [one for one in entries if one.kind is kind]
        parts.append(f"## {kind.capitalize()}: {min(NUM_SHOWN, len(its))} of {len(its)}")
        if its:
            reasons = Counter(one.reason.partition(":")[0] for one in its).most_common()
            parts.append(aligned([["reason", "claims"], *reasons]))
            parts.append(aligned([_ENTRY_HEADER, *map(_entry_cells, its[:NUM_SHOWN])]))
    stable = [one for one in suspects if one.is_stable]
    parts.append(f"## Labels to look at: {min(NUM_SHOWN, len(stable))} of {len(stable)}")
    parts.append("Unsolved problems on whose answer most solutions agree. The label may be the mistake, or the policy.")
    if stable:
        parts.append(aligned([_SUSPECT_HEADER, *(_suspect_cells(one, problems) for one in stable[:NUM_SHOWN])]))
    return "\n\n".join(parts) + "\n"


_ENTRY_HEADER = ("place", "claimed", "label", "answer", "printed", "rule", "reason")
_SUSPECT_HEADER = ("problem", "level", "label", "majority", "share", "solutions", "text")


def _entry_cells(one: Entry) -> list[str]:
    place = f"{one.problem_id}/{one.tree_index}/{one.leaf}"
    texts = (one.label, one.answer, one.printed, one.rule, one.reason)
    return [place, one.claimed, *map(_short, texts)]


def _suspect_cells(one: Suspect, problems: Mapping[str, Problem]) -> list[str]:
    majority = _short(one.majority_answer or "")
    share = f"{100 * one.share:.0f} %"
    text = _short(problems[one.problem_id].text)
    return [one.problem_id, str(one.level), _short(one.label), majority, share, str(one.num_solutions), text]


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"
