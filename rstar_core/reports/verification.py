"""What a verification found, as Markdown: its doubts, the labels to look at, and sample trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from rstar_core.cot.grammar import render_step
from rstar_core.curation.claims import Kind
from rstar_core.curation.suspects import Suspect
from rstar_core.reports.markdown import aligned, fenced
from rstar_core.types import LedgerEntry, Problem, Trajectory

NUM_SAMPLES = 3


def samples(round_id: str, problems: Mapping[str, Problem], verified: Callable[[], Iterable[Trajectory]]) -> str:
    """A few correct and a few wrong trajectories as Markdown, from all over the problems; ``verified`` begins anew with
    each call."""
    parts = [f"# Sample trajectories of {round_id}"]
    for title, is_correct in (("Correct", True), ("Wrong", False)):
        number = sum(one.is_correct is is_correct for one in verified())
        chosen = spread(number, NUM_SAMPLES)
        parts.append(f"## {title}: {len(chosen)} of {number}")
        its = (one for one in verified() if one.is_correct is is_correct)
        parts += [_sample(problems[one.problem_id], one) for place, one in enumerate(its) if place in chosen]
    return "\n\n".join(parts) + "\n"


def spread(number: int, count: int) -> list[int]:
    """``count`` places of ``number`` at equal distances, the first among them; all where there are no more."""
    count = min(count, number)
    return [place * number // count for place in range(count)]


def _sample(problem: Problem, trajectory: Trajectory) -> str:
    place = f"### {problem.id}, tree {trajectory.tree_index}, leaf {trajectory.leaf}"
    facts = f"Level {problem.level}, mean Q {trajectory.mean_q:.3f}, label {problem.answer}:"
    return "\n\n".join([place, facts, fenced(problem.text), fenced("".join(map(render_step, trajectory.steps)))])


NUM_SHOWN = 20
MAX_SHOWN_CHARS = 60


def report(
    round_id: str,
    counts: Mapping[str, int],
    entries: Iterable[LedgerEntry],
    suspects: Sequence[Suspect],
    problems: Mapping[str, Problem],
) -> str:
    """``report.md``: counts, the first entries of each kind, and the labels that most need a look."""
    reasons: dict[str, Counter[str]] = {kind: Counter() for kind in Kind}
    first: dict[str, list[LedgerEntry]] = {kind: [] for kind in Kind}
    for one in entries:
        reasons[one.kind][one.reason.partition(":")[0]] += 1
        if len(first[one.kind]) < NUM_SHOWN:
            first[one.kind].append(one)
    parts = [f"# Verification of {round_id}", aligned([["what", "count"], *counts.items()])]
    for kind in Kind:
        parts.append(f"## {kind.capitalize()}: {len(first[kind])} of {reasons[kind].total()}")
        if first[kind]:
            parts.append(aligned([["reason", "claims"], *reasons[kind].most_common()]))
            parts.append(aligned([_ENTRY_HEADER, *map(_entry_cells, first[kind])]))
    stable = [one for one in suspects if one.is_stable]
    parts.append(f"## Labels to look at: {min(NUM_SHOWN, len(stable))} of {len(stable)}")
    parts.append("Unsolved problems on whose answer most solutions agree. The label may be the mistake, or the policy.")
    if stable:
        parts.append(aligned([_SUSPECT_HEADER, *(_suspect_cells(one, problems) for one in stable[:NUM_SHOWN])]))
    return "\n\n".join(parts) + "\n"


_ENTRY_HEADER = ("place", "claimed", "label", "answer", "printed", "rule", "reason")
_SUSPECT_HEADER = ("problem", "level", "label", "majority", "share", "solutions", "text")


def _entry_cells(one: LedgerEntry) -> list[str]:
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
