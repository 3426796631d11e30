"""Gold answers that the grader can read, and answers to the same problem that contradict each other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from rstar_core.answers.equivalence import Ruling, Verdict, math_verify_ruling, ruling_from_row
from rstar_core.answers.gold import cheap_gold_ruling, gold_ruling
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import FileSource, Ingest, Split
from rstar_core.journal import Journal
from rstar_core.journal.sharded import by_shard
from rstar_core.problems.filters import Duplicate, Entry, Rejection, check_bad_fraction
from rstar_core.problems.load import Loaded
from rstar_core.progress import Progress

_AT_ONCE = 512


def gradable(
    offers: Mapping[Split, Sequence[Entry]], rulings: Mapping[str, Ruling]
) -> tuple[dict[Split, list[Entry]], list[Entry]]:
    """The entries whose gold answer the grader reads, and the others."""
    kept: dict[Split, list[Entry]] = {split: [] for split in offers}
    unreadable: list[Entry] = []
    for split, entries in offers.items():
        for entry in entries:
            is_readable = rulings[entry.problem.answer].verdict is Verdict.EQUAL
            (kept[split] if is_readable else unreadable).append(entry)
    return kept, unreadable


def check_readable(
    ingest: Ingest, loaded: Sequence[Loaded], unreadable: Sequence[Entry], rulings: Mapping[str, Ruling]
) -> None:
    """Unreadable answers count like bad rows.

    Raises:
        UserError: with them, more than ``max_bad_fraction`` of a source is bad.
    """
    for number, (source, one) in enumerate(zip(ingest.sources, loaded, strict=True)):
        its = [entry for entry in unreadable if entry.source_number == number]
        rejections = [Rejection(entry.file, entry.line, why_unreadable(entry.problem.answer, rulings)) for entry in its]
        name = source.path if isinstance(source, FileSource) else source.kind
        if its:
            num_good = len(one.entries) - len(its)
            check_bad_fraction(name, num_good, [*rejections, *one.bad], ingest.max_bad_fraction)


async def gold_rulings(golds: Sequence[str], journal: Journal) -> dict[str, Ruling]:
    """Plain answers first: where all are, no sandbox is started. The others' rulings are kept in ``journal``."""
    rulings = {gold: ruling for gold in golds if (ruling := cheap_gold_ruling(gold))}
    hard = [gold for gold in golds if gold not in rulings]
    if hard:
        progress = Progress("gold answers", len(hard), "answers")
        async with GraderSandbox() as sandbox:

            async def work(shard: Sequence[str]) -> list[dict[str, str]]:
                found = await asyncio.gather(*(gold_ruling(gold, sandbox) for gold in shard))
                progress.advance(len(shard))
                return [asdict(ruling) for ruling in found]

            async for gold, row in by_shard(journal, hard, _AT_ONCE, work):
                rulings[gold] = ruling_from_row(row)
    return rulings


async def with_verdicts(duplicates: Sequence[Duplicate]) -> list[Duplicate]:
    """``duplicates``, all of them with a verdict on the two answers."""
    undecided = [one for one in duplicates if one.verdict is None]
    if not undecided:
        return list(duplicates)
    progress = Progress("answers to the same problem", len(undecided), "pairs")
    async with GraderSandbox() as sandbox:

        async def judged(one: Duplicate) -> Duplicate:
            ruling = await math_verify_ruling(one.original.answer, one.entry.problem.answer, sandbox)
            progress.advance()
            return replace(one, verdict=ruling.verdict)

        found = iter(await asyncio.gather(*map(judged, undecided)))
    return [one if one.verdict else next(found) for one in duplicates]


def why_unreadable(answer: str, rulings: Mapping[str, Ruling]) -> str:
    shown = ascii(answer)[:_MAX_SHOWN_CHARS]
    return f"answer: the grader can't find it equal to itself ({rulings[answer].rule}): {shown}"


_MAX_SHOWN_CHARS = 100
