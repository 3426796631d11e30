"""What may come in: rejections as data, the limit on bad rows, and splits that share no problem. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rstar_core.answers.equivalence import Verdict, cheap_ruling
from rstar_core.config import Split
from rstar_core.errors import UserError
from rstar_core.problems.identity import normalised
from rstar_core.types import Problem, TrueStates

_MAX_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """A problem on its way in. ``file`` is a path or a generator's name, ``line`` counts its rows from 1.

    ``code_steps`` is empty except in the split ``demonstrations``; ``states`` are there where a generator knows them.
    ``doubts`` are what a person should look at; ``source_number`` is the place of its source in params.yaml, from 0.
    """

    file: str
    line: int
    problem: Problem
    code_steps: tuple[str, ...] = ()
    states: TrueStates | None = None
    doubts: tuple[str, ...] = ()
    source_number: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that did not come in, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A refused entry and the problem, already kept in ``split``, that it repeats.

    ``verdict`` on their answers is None where only the algebra system can tell.
    """

    entry: Entry
    original: Problem
    split: Split
    verdict: Verdict | None

    @property
    def is_conflict(self) -> bool:
        """Are the answers not known to be equal? Two spellings of one number are no contradiction."""
        return self.verdict is not Verdict.EQUAL

    @property
    def rejection(self) -> Rejection:
        reason = f"duplicate of problem {self.original.id} in {self.split}"
        if self.is_conflict:
            answers = ", not ".join(ascii(one.answer)[:_MAX_SHOWN_CHARS] for one in (self.original, self.entry.problem))
            reason += f", where the answer is {answers}"
        return Rejection(self.entry.file, self.entry.line, reason)


def make_disjoint(offers: Mapping[Split, Sequence[Entry]]) -> tuple[dict[Split, list[Entry]], list[Duplicate]]:
    """Keep the first entry of each normalised text; the mapping's order says which split comes first."""
    kept: dict[Split, list[Entry]] = {split: [] for split in offers}
    duplicates: list[Duplicate] = []
    seen: dict[str, tuple[Problem, Split]] = {}
    for split, entry in _in_order(offers):
        key = normalised(entry.problem.text)
        if key in seen:
            original, its_split = seen[key]
            ruling = cheap_ruling(original.answer, entry.problem.answer)
            duplicates.append(Duplicate(entry, original, its_split, ruling.verdict if ruling else None))
        else:
            seen[key] = (entry.problem, split)
            kept[split].append(entry)
    return kept, duplicates


_RUN_WORDS = 8
_MAX_SHARED = (
    2  # benchmark problems with the same run: more share an instruction, "as a common fraction in lowest terms"
)


def near_copies(kept: Mapping[Split, Sequence[Entry]]) -> dict[Split, list[Entry]]:
    """``kept`` with a doubt at each row outside the benchmark that shares a run of words with a problem inside.

    Only rows of files are compared: stories are made of the same sentences with other numbers.
    """
    runs: dict[str, list[str]] = {}
    for entry in kept.get("benchmark", ()):
        if not entry.states:
            for run in set(_runs(entry.problem.text)):
                runs.setdefault(run, []).append(entry.problem.id)
    telling = {run: ids[0] for run, ids in runs.items() if len(ids) <= _MAX_SHARED}
    return {
        split: [_compared(entry, telling) for entry in entries] if telling and split != "benchmark" else [*entries]
        for split, entries in kept.items()
    }


def _compared(entry: Entry, telling: Mapping[str, str]) -> Entry:
    run = next((run for run in _runs(entry.problem.text) if run in telling), None)
    if run is None:
        return entry
    doubt = f"near a benchmark problem: {telling[run]} has {run!r}, too"
    return replace(entry, doubts=(*entry.doubts, doubt))


def _runs(text: str) -> Iterator[str]:
    words = normalised(text).split()
    return (" ".join(words[start : start + _RUN_WORDS]) for start in range(len(words) - _RUN_WORDS + 1))


def _in_order(offers: Mapping[Split, Sequence[Entry]]) -> Iterator[tuple[Split, Entry]]:
    for split, entries in offers.items():
        for entry in entries:
            yield split, entry


def check_bad_fraction(name: str, num_good: int, bad: Sequence[Rejection], max_bad_fraction: float) -> None:
    """Accept a source of which at most ``max_bad_fraction`` is bad.

    Raises:
        UserError: more is bad, or there is no row at all.
    """
    total = num_good + len(bad)
    if total == 0:
        raise UserError(f"{name}: holds no rows; mend the file or remove it from ingest.sources")
    if len(bad) > max_bad_fraction * total:
        raise UserError(
            f"{name}: {len(bad)} of {total} rows are bad, ingest.max_bad_fraction allows {max_bad_fraction:.2%};"
            f" the first is line {bad[0].line}: {bad[0].reason}"
        )
