"""The report on what came in: what became of each source's rows, so that the counts add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rstar_core.config import FileSource, Source, StoriesSource
from rstar_core.problems.filters import Duplicate, Entry
from rstar_core.problems.load import Loaded
from rstar_core.reports.markdown import aligned, cell

# What can become of a row that is not kept, in the order in which it is found out.
BAD, OUTSIDE, NO_PROGRAM = "bad row", "outside the slice", "no program"
EXACT, LAYOUT, CONFLICT, UNREADABLE = "duplicate", "duplicate but for layout", "conflicting answer", "unreadable answer"
FATES = (BAD, OUTSIDE, NO_PROGRAM, EXACT, LAYOUT, CONFLICT, UNREADABLE)
_NUM_SHOWN = 20


@dataclass(slots=True)
class Intake:
    """One source's rows: ``rows`` = ``kept`` + the sum of ``refused``, which is by fate."""

    source: Source
    rows: int
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        match self.source:
            case FileSource():
                return self.source.path
            case StoriesSource():
                return "stories"
            case _:
                return f"reasoning_gym/{self.source.family}"


def intakes(
    sources: Sequence[Source],
    loaded: Sequence[Loaded],
    kept: Iterable[Entry],
    duplicates: Iterable[Duplicate],
    unreadable: Iterable[Entry],
) -> list[Intake]:
    """What became of the rows of each source, in the order of ``sources``."""
    found = []
    for source, one in zip(sources, loaded, strict=True):
        refused = Counter({BAD: len(one.bad), OUTSIDE: one.num_outside, NO_PROGRAM: len(one.without_program)})
        found.append(Intake(source, len(one.entries) + refused.total(), refused=refused))
    for entry in kept:
        found[entry.source_number].kept += 1
    for duplicate in duplicates:
        found[duplicate.entry.source_number].refused[fate_of(duplicate)] += 1
    for entry in unreadable:
        found[entry.source_number].refused[UNREADABLE] += 1
    return found


def fate_of(duplicate: Duplicate) -> str:
    if duplicate.is_conflict:
        return CONFLICT
    return EXACT if duplicate.entry.problem.text == duplicate.original.text else LAYOUT


def report_facts(its: Sequence[Intake], kept: Sequence[Entry], conflicts: Sequence[str]) -> dict[str, Any]:
    """As JSON: each source, each kept row that looks doubtful, each pair of rows that contradict each other."""
    return {
        "sources": [
            {
                "source": one.name,
                "split": one.source.split,
                "rows": one.rows,
                "kept": one.kept,
                **{fate: one.refused[fate] for fate in FATES},
            }
            for one in its
        ],
        "doubts": [
            {"file": entry.file, "line": entry.line, "problem_id": entry.problem.id, "doubt": doubt}
            for entry in kept
            for doubt in entry.doubts
        ],
        "conflicts": list(conflicts),
    }


def report_text(facts: Mapping[str, Any]) -> str:
    """The same as Markdown, with the first of the doubts and conflicts."""
    sources, doubts = facts["sources"], facts["doubts"]
    columns = [name for name in FATES if any(one[name] for one in sources)]
    header = ["source", "split", "rows", "kept", *columns]
    total = ["all", "", *(sum(one[name] for one in sources) for name in header[2:])]
    rows = [[one[name] for name in header] for one in sources]
    parts = [
        "# Problems\n",
        "A row of a source is kept or in one of the columns after that, so the numbers of a line add up to its rows.\n",
        aligned([header, *rows, total]),
    ]
    if doubts:
        kinds = Counter(one["doubt"].partition(":")[0] for one in doubts)
        first = {one["doubt"].partition(":")[0]: one for one in reversed(doubts)}
        table = [
            [kind, number, f"{first[kind]['file']}:{first[kind]['line']}", first[kind]["doubt"].partition(": ")[2]]
            for kind, number in kinds.most_common()
        ]
        parts += ["\n## Kept, but look at them\n", aligned([["doubt", "rows", "first", "there"], *table])]
    if conflicts := facts["conflicts"]:
        parts += ["\n## The same problem with another answer\n", *(f"- {cell(one)}" for one in conflicts[:_NUM_SHOWN])]
        if len(conflicts) > _NUM_SHOWN:
            parts.append(f"- and {len(conflicts) - _NUM_SHOWN} more, in the JSON report")
    return "\n".join(parts) + "\n"
