"""The cards of a round's data sets: Markdown, from counted facts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rstar_core.curation.evidence import Difficulty
from rstar_core.curation.pairs import is_final
from rstar_core.reports.markdown import aligned
from rstar_core.types import DEMONSTRATION, PreferencePair, Problem, SftExample, Trajectory

BAR_WIDTH = 40
BIN_WIDTH = 0.25


@dataclass(frozen=True, slots=True)
class Facts:
    """What both cards of a round tell.

    ``trajectories`` are the round's verified ones, ``difficulty`` is by problem id, and ``parents`` are the sha256 of
    everything that the data were made from, by path.
    """

    round_id: str
    problems: Sequence[Problem]
    trajectories: Sequence[Trajectory]
    difficulty: Mapping[str, Difficulty]
    parents: Mapping[str, str]


def sft_card(facts: Facts, examples: Sequence[SftExample]) -> str:
    found = [example for example in examples if example.origin != DEMONSTRATION]
    ids = [example.question.id for example in found]
    return _document(
        f"SFT examples of {facts.round_id}",
        f"{len(examples)} solutions: {len(found)} found by search and verified, {len(examples) - len(found)} "
        f"demonstrations (origin {DEMONSTRATION}). The tables by level, by source and by mean Q leave demonstrations "
        "out: they are not of the training problems, and nobody searched for them.",
        _section("By origin", _by_round("origin", "examples", (example.origin for example in examples))),
        *_by_problem(facts, "examples", ids),
        _section("Mean Q", _histogram({"examples": [example.mean_q for example in found]})),
        _difficulties(facts),
        _parents(facts),
    )


def pairs_card(facts: Facts, train: Sequence[PreferencePair], validation: Sequence[PreferencePair]) -> str:
    pairs = [*train, *validation]
    sides = {"train": train, "validation": validation}
    mean_q = {
        name: [one.mean_q for one in facts.trajectories if one.is_correct is is_correct]
        for name, is_correct in (("correct", True), ("wrong", False))
    }
    return _document(
        f"Preference pairs of {facts.round_id}",
        f"{len(pairs)} pairs. Inner ones rank two steps after one prefix, final ones two whole solutions. A problem's "
        "pairs are all on one side of the split, in every round.",
        _section("By side", _table(["side", "inner", "final", "problems"], [_side(*side) for side in sides.items()])),
        _section("By round", _by_round("round", "pairs", (pair.node_key.partition("/")[0] for pair in pairs))),
        *_by_problem(facts, "pairs", [pair.problem_id for pair in pairs]),
        _section(f"Mean Q of the trajectories of {facts.round_id}", _histogram(mean_q)),
        _difficulties(facts),
        _parents(facts),
    )


def _side(name: str, pairs: Sequence[PreferencePair]) -> list[object]:
    num_final = sum(map(is_final, pairs))
    return [name, len(pairs) - num_final, num_final, len({pair.problem_id for pair in pairs})]


# --- sections -------------------------------------------------------------------------------------------------


def _by_round(name: str, what: str, round_ids: Iterable[str]) -> str:
    counts = Counter(round_ids)
    return _table([name, what], [[one, counts[one]] for one in sorted(counts, key=lambda one: (len(one), one))])


def _by_problem(facts: Facts, what: str, ids: Iterable[str]) -> list[str]:
    """How many there are at each level and of each source; ``ids`` has one problem id for each."""
    num_by_id = Counter(ids)
    levels: dict[object, list[str]] = {}
    sources: dict[object, list[str]] = {}
    for problem in sorted(facts.problems, key=lambda problem: problem.level):
        levels.setdefault(problem.level, []).append(problem.id)
        sources.setdefault(f"{problem.source} ({problem.license})", []).append(problem.id)
    return [
        _section(f"By {name}", _table([name, "problems", f"with {what}", what], _counted(groups, num_by_id)))
        for name, groups in (("level", levels), ("source", sources))
    ]


def _counted(groups: Mapping[object, Sequence[str]], num_by_id: Counter[str]) -> list[list[object]]:
    return [
        [name, len(ids), sum(one in num_by_id for one in ids), sum(num_by_id[one] for one in ids)]
        for name, ids in groups.items()
    ]


def _difficulties(facts: Facts) -> str:
    counts = Counter((problem.level, facts.difficulty[problem.id]) for problem in facts.problems)
    levels = sorted({level for level, _ in counts})
    rows = [[level, *(counts[level, name] for name in Difficulty)] for level in levels]
    text = "Problems by the answers of this round's trees: all right, some right, none right."
    return _section("Difficulty", text, _table(["level", *Difficulty], rows))


def _parents(facts: Facts) -> str:
    return _section("Made from", _table(["path", "sha256"], facts.parents.items()))


def _histogram(values: Mapping[str, Sequence[float]]) -> str:
    """One row per bin of Q, from -1 to 1; what lies beyond is in the first or last. Bars show all columns' sum."""
    last = round(2 / BIN_WIDTH) - 1
    bins = [Counter(min(max(int((q + 1) // BIN_WIDTH), 0), last) for q in column) for column in values.values()]
    totals = [sum(counts[place] for counts in bins) for place in range(last + 1)]
    rows = [
        [
            f"{place * BIN_WIDTH - 1:+.2f} to {(place + 1) * BIN_WIDTH - 1:+.2f}",
            *(counts[place] for counts in bins),
            "█" * -(-BAR_WIDTH * total // max(*totals, 1)),
        ]
        for place, total in enumerate(totals)
    ]
    return _table(["Q", *values, ""], rows)


# --- Markdown -------------------------------------------------------------------------------------------------


def _document(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {title}", *parts])


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return aligned([header, *rows])
