"""From a source of params.yaml to entries: one function for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from rstar_core.config import FileSource, ReasoningGymSource, Source, StoriesSource
from rstar_core.errors import UserError
from rstar_core.problems.doubts import doubts
from rstar_core.problems.files import Row, read_rows
from rstar_core.problems.filters import Entry, Rejection, check_bad_fraction
from rstar_core.problems.gsm8k import NoProgram, make_program


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a source offers. ``without_program``: valid rows that cannot become demonstrations; they are not bad.

    ``num_outside`` counts valid rows outside the slice that params.yaml wants.
    """

    entries: list[Entry]
    bad: list[Rejection]
    without_program: list[Rejection]
    num_outside: int = 0


def load_source(source: Source, max_bad_fraction: float) -> Loaded:
    """Everything a source offers, before the check for duplicates.

    Raises:
        UserError: the source cannot be read or too much of it is bad.
    """
    match source:
        case StoriesSource():
            return Loaded(_stories(source), [], [])
        case ReasoningGymSource():
            return _reasoning_gym(source, max_bad_fraction)
        case FileSource():
            return _file(source, max_bad_fraction)
        case _:
            assert_never(source)


def _stories(source: StoriesSource) -> list[Entry]:
    """Solutions leave this room only as demonstrations."""
    from rstar_core.problems.stories import generate_stories

    stories = enumerate(generate_stories(source.levels, source.num_per_level, source.seed), start=1)
    if source.split == "demonstrations":
        worked = ((line, story.demonstration) for line, story in stories)
        return [Entry("stories", line, one.problem, one.code_steps) for line, one in worked]
    return [Entry("stories", line, story.demonstration.problem, states=story.states) for line, story in stories]


def _reasoning_gym(source: ReasoningGymSource, max_bad_fraction: float) -> Loaded:
    from rstar_core.problems.reasoning_gym import generate_family

    entries, bad = generate_family(source.family, source.size, source.seed)
    check_bad_fraction(f"reasoning_gym/{source.family}", len(entries), bad, max_bad_fraction)
    return Loaded(entries, bad, [])


def _file(source: FileSource, max_bad_fraction: float) -> Loaded:
    rows, bad = read_rows(source.path, source.source, max_bad_fraction, source.fields)
    end = None if source.limit is None else source.offset + source.limit
    chosen = rows[source.offset : end]
    if not rows and bad:
        raise UserError(f"{source.path}: no row can be used; the first is line {bad[0].line}: {bad[0].reason}")
    if not chosen:
        raise UserError(f"{source.path}: offset {source.offset} leaves none of its {len(rows)} rows; make it smaller")
    loaded = Loaded([], bad, [], len(rows) - len(chosen))
    if source.solutions is None:
        loaded.entries.extend(_entry(source.path, row) for row in chosen)
        return loaded
    return _with_programs(source.path, chosen, loaded)


def _entry(path: str, row: Row, code_steps: tuple[str, ...] = ()) -> Entry:
    its = doubts(row.problem.text, row.problem.answer, row.solution)
    return Entry(path, row.line, row.problem, code_steps, doubts=tuple(its))


def _with_programs(path: str, rows: list[Row], loaded: Loaded) -> Loaded:
    for row in rows:
        try:
            code_steps = make_program(row.problem.text, row.solution, row.problem.answer)
            loaded.entries.append(_entry(path, row, code_steps))
        except NoProgram as error:
            loaded.without_program.append(Rejection(path, row.line, f"no program: {error}"))
    return loaded
