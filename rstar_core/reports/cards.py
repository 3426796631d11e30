"""The cards of a round's data sets: Markdown, from counted facts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rstar_core.curation.evidence import Difficulty
from rstar_core.curation.pairs import is_final
from rstar_core.reports.markdown import aligned
from rstar_core.types import DEMONSTRATION, PreferencePair, Problem, SftExample, Trajectory

BAR_WIDTH = 40
BIN_WIDTH = 0.25
_LAST_BIN = round(2 / BIN_WIDTH) - 1


@dataclass(slots=True)
class ExampleFacts:
    """Counts of SFT examples: by origin, and of those found by search by problem id and by bin of mean Q."""

    by_origin: Counter[str] = field(default_factory=Counter)
    by_problem: Counter[str] = field(default_factory=Counter)
    by_q: Counter[int] = field(default_factory=Counter)

    def add(self, example: SftExample) -> None:
        self.by_origin[example.origin] += 1
        if example.origin != DEMONSTRATION:
            self.by_problem[example.question.id] += 1
            self.by_q[_bin(example.mean_q)] += 1

    @property
    def total(self) -> int:
        return self.by_origin.total()


@dataclass(slots=True)
class PairFacts:
    """Counts of the preference pairs of one side of the split."""

    num_final: int = 0
    by_round: Counter[str] = field(default_factory=Counter)
    by_problem: Counter[str] = field(default_factory=Counter)

    def add(self, pair: PreferencePair) -> None:
        self.num_final += is_final(pair)
        self.by_round[pair.node_key.partition("/")[0]] += 1
        self.by_problem[pair.problem_id] += 1

    @property
    def total(self) -> int:
        return self.by_round.total()


@dataclass(slots=True)
class Facts:
    """What both cards of a round tell.

    ``difficulty`` is by problem id, ``correct_by_q`` and ``wrong_by_q`` count the round's verified trajectories by bin
    of mean Q, and ``parents`` are the sha256 of everything that the data were made from, by path.
    """

    round_id: str
    problems: Sequence[Problem]
    parents: Mapping[str, str]
    examples: ExampleFacts = field(default_factory=ExampleFacts)
    train: PairFacts = field(default_factory=PairFacts)
    validation: PairFacts = field(default_factory=PairFacts)
    difficulty: dict[str, Difficulty] = field(default_factory=dict)
    correct_by_q: Counter[int] = field(default_factory=Counter)
    wrong_by_q: Counter[int] = field(default_factory=Counter)

    def add_trajectories(self, trajectories: Iterable[Trajectory]) -> None:
        for one in trajectories:
            (self.correct_by_q if one.is_correct else self.wrong_by_q)[_bin(one.mean_q)] += 1


def _bin(q: float) -> int:
    """From -1 to 1; what lies beyond is in the first or last."""
    return min(max(int((q + 1) // BIN_WIDTH), 0), _LAST_BIN)


def sft_card(facts: Facts) -> str:
    counts = facts.examples
    num_demonstrations = counts.by_origin[DEMONSTRATION]
    return _document(
        f"SFT examples of {facts.round_id}",
        f"{counts.total} solutions: {counts.total - num_demonstrations} found by search and verified, "
        f"{num_demonstrations} demonstrations (origin {DEMONSTRATION}). The tables by level, by source and by mean Q "
        "leave demonstrations out: they are not of the training problems, and nobody searched for them.",
        _section("By origin", _by_round("origin", "examples", counts.by_origin)),
        *_by_problem(facts, "examples", counts.by_problem),
        _section("Mean Q", _histogram({"examples": counts.by_q})),
        _difficulties(facts),
        _parents(facts),
    )


def pairs_card(facts: Facts) -> str:
    sides = {"train": facts.train, "validation": facts.validation}
    return _document(
        f"Preference pairs of {facts.round_id}",
        f"{facts.train.total + facts.validation.total} pairs. Inner ones rank two steps after one prefix, final ones "
        "two whole solutions. A problem's pairs are all on one side of the split, in every round.",
        _section("By side", _table(["side", "inner", "final", "problems"], [_side(*side) for side in sides.items()])),
        _section("By round", _by_round("round", "pairs", facts.train.by_round + facts.validation.by_round)),
        *_by_problem(facts, "pairs", facts.train.by_problem + facts.validation.by_problem),
        _section(
            f"Mean Q of the trajectories of {facts.round_id}",
            _histogram({"correct": facts.correct_by_q, "wrong": facts.wrong_by_q}),
        ),
        _difficulties(facts),
        _parents(facts),
    )


def _side(name: str, facts: PairFacts) -> list[object]:
    return [name, facts.total - facts.num_final, facts.num_final, len(facts.by_problem)]


# --- sections -------------------------------------------------------------------------------------------------


def _by_round(name: str, what: str, counts: Counter[str]) -> str:
    return _table([name, what], [[one, counts[one]] for one in sorted(counts, key=lambda one: (len(one), one))])


def _by_problem(facts: Facts, what: str, num_by_id: Counter[str]) -> list[str]:
    """How many there are at each level and of each source."""
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


def _histogram(columns: Mapping[str, Counter[int]]) -> str:
    """One row per bin of Q. Bars show all columns' sum."""
    bins = list(columns.values())
    totals = [sum(counts[place] for counts in bins) for place in range(_LAST_BIN + 1)]
    rows = [
        [
            f"{place * BIN_WIDTH - 1:+.2f} to {(place + 1) * BIN_WIDTH - 1:+.2f}",
            *(counts[place] for counts in bins),
            "█" * -(-BAR_WIDTH * total // max(*totals, 1)),
        ]
        for place, total in enumerate(totals)
    ]
    return _table(["Q", *columns, ""], rows)


# --- Markdown -------------------------------------------------------------------------------------------------


def _document(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {title}", *parts])


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return aligned([header, *rows])
