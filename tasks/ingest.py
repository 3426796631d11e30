"""Sources -> problems: the training, benchmark and demonstration sets, which share no problem."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from rstar_core.answers.equivalence import GRADER_VERSION, Ruling, Verdict, math_verify_ruling, ruling_from_row
from rstar_core.answers.gold import cheap_gold_ruling, gold_ruling
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import FileSource, Ingest, Source, Split
from rstar_core.io import write_demonstrations, write_json, write_problems, write_true_states
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import JournalKey, journal_key
from rstar_core.journal.sharded import by_shard
from rstar_core.problems.filters import Duplicate, Entry, Rejection, check_bad_fraction, make_disjoint, near_copies
from rstar_core.problems.load import Loaded, load_source
from rstar_core.progress import Progress
from rstar_core.publishing import publish
from rstar_core.reports.intake import intakes, report_facts, report_text
from rstar_core.types import Demonstration

PRECEDENCE: tuple[Split, ...] = ("benchmark", "demonstrations", "train")  # a held-out problem stays held out
_NUM_SHOWN = 20
_MAX_SHOWN_CHARS = 100
_AT_ONCE = 512


def ingest(
    *,
    data: Path,
    train: Path,
    benchmark: Path,
    demonstrations: Path,
    oracle: Path,
    rejected: Path,
    report: Path,
    counts: Path,
    ingest: Ingest,
) -> dict[str, float]:
    """Gather the problems of all sources into disjoint splits.

    ``data`` is where files lie whose changes are seen; others can be read too, which is said on stderr. Everything is
    loaded before anything is written. Killed and started again, the stage reads its sources anew and goes
    on with the gold answers that were not judged yet. A problem whose answer the grader can't read is set aside: nobody
    could be right there. ``oracle`` holds, of generated problems, the true state after each step, for judging only.
    ``rejected`` lists each refused row as JSON: file, line, reason. ``report`` (Markdown) and ``counts`` (JSON) say
    what became of each source's rows, and which of the kept ones a person should look at (``problems/doubts.py``).
    Metrics: ``num_<split>``, ``num_bad``, ``num_duplicates``, ``num_without_program``, ``num_ungradable``, and for each
    source ``<source>/num_<split>`` and, if any, ``<source>/num_duplicates``.

    Raises:
        UserError: a source is missing, unreadable or has too many bad rows.
    """
    for line in unwatched(ingest.sources, data):
        print(line, file=sys.stderr)
    loaded = [load_source(source, ingest.max_bad_fraction) for source in ingest.sources]
    disjoint, duplicates = make_disjoint(_by_split(ingest.sources, loaded))
    golds = sorted({entry.problem.answer for entries in disjoint.values() for entry in entries})
    with closing(open_journal(_key(ingest, golds))) as journal:
        rulings = asyncio.run(gold_rulings(golds, journal))
        duplicates = asyncio.run(with_verdicts(duplicates))
        kept, unreadable = gradable(near_copies(disjoint), rulings)
        check_readable(ingest, loaded, unreadable, rulings)
        bad = _unique(row for one in loaded for row in one.bad)
        without_program = _unique(row for one in loaded for row in one.without_program)
        ungradable = [Rejection(one.file, one.line, _why(one.problem.answer, rulings)) for one in unreadable]
        rejections = [*bad, *without_program, *ungradable, *(duplicate.rejection for duplicate in duplicates)]
        its_entries = [entry for entries in kept.values() for entry in entries]
        its_intakes = intakes(ingest.sources, loaded, its_entries, duplicates, unreadable)
        conflicts = [str(duplicate.rejection) for duplicate in duplicates if duplicate.is_conflict]
        facts = report_facts(its_intakes, its_entries, conflicts)
        write_problems(train, [entry.problem for entry in kept["train"]])
        write_problems(benchmark, [entry.problem for entry in kept["benchmark"]])
        write_demonstrations(demonstrations, [Demonstration(e.problem, e.code_steps) for e in kept["demonstrations"]])
        write_true_states(oracle, [e.states for split in ("train", "benchmark") for e in kept[split] if e.states])
        _write_rejections(rejected, rejections)
        write_json(counts, facts)
        with publish(report, "w") as handle:
            handle.write(report_text(facts))
        journal.discard()
    return {
        "num_bad": len(bad),
        "num_without_program": len(without_program),
        "num_ungradable": len(ungradable),
        "num_duplicates": len(duplicates),
        **_counts(kept, duplicates),
    }


def _key(ingest: Ingest, golds: Sequence[str]) -> JournalKey:
    """Only rulings on gold answers are kept: to read a source again costs what reading a journal would."""
    digest = hashlib.sha256(json.dumps(golds).encode()).hexdigest()
    return journal_key("ingest", "r0", (), {"ingest": ingest, "golds": digest, "GRADER_VERSION": GRADER_VERSION})


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
        rejections = [Rejection(entry.file, entry.line, _why(entry.problem.answer, rulings)) for entry in its]
        name = source.path if isinstance(source, FileSource) else source.kind
        if its:
            num_good = len(one.entries) - len(its)
            check_bad_fraction(name, num_good, [*rejections, *one.bad], ingest.max_bad_fraction)


def unwatched(sources: Iterable[Source], data: Path) -> list[str]:
    """A line for each file of ``sources`` outside ``data``, the only folder that the pipeline depends on."""
    paths = dict.fromkeys(source.path for source in sources if isinstance(source, FileSource))
    again = "after a change run: dvc repro --force --single-item ingest"
    return [
        f"{path}: outside {data}/, so its changes are not seen; {again}"
        for path in paths
        if "://" in path or ".." in Path(path).parts or not Path(path).absolute().is_relative_to(data.absolute())
    ]


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


def _why(answer: str, rulings: Mapping[str, Ruling]) -> str:
    shown = ascii(answer)[:_MAX_SHOWN_CHARS]
    return f"answer: the grader can't find it equal to itself ({rulings[answer].rule}): {shown}"


def _by_split(sources: Sequence[Source], loaded: Sequence[Loaded]) -> dict[Split, list[Entry]]:
    offers: dict[Split, list[Entry]] = {split: [] for split in PRECEDENCE}
    for number, (source, one) in enumerate(zip(sources, loaded, strict=True)):
        offers[source.split] += [replace(entry, source_number=number) for entry in one.entries]
    return offers


def _unique(rejections: Iterable[Rejection]) -> list[Rejection]:
    """Two sources may be slices of one file, whose bad rows count once."""
    return list(dict.fromkeys(rejections))


def _counts(kept: Mapping[Split, Sequence[Entry]], duplicates: Sequence[Duplicate]) -> dict[str, float]:
    counts: Counter[str] = Counter({f"num_{split}": len(entries) for split, entries in kept.items()})
    for split, entries in kept.items():
        counts.update(f"{entry.problem.source}/num_{split}" for entry in entries)
    counts.update(f"{duplicate.entry.problem.source}/num_duplicates" for duplicate in duplicates)
    return dict(counts)


def _write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    with publish(path, "w") as handle:
        handle.writelines(f"{json.dumps(asdict(rejection))}\n" for rejection in rejections)
    for rejection in rejections[:_NUM_SHOWN]:
        print(rejection, file=sys.stderr)
    if len(rejections) > _NUM_SHOWN:
        print(f"... and {len(rejections) - _NUM_SHOWN} more, all in {path}", file=sys.stderr)
