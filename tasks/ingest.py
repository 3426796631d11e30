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

from rstar_core.answers.equivalence import GRADER_VERSION
from rstar_core.config import FileSource, Ingest, Source, Split
from rstar_core.io import write_demonstrations, write_json, write_lines, write_problems, write_true_states
from rstar_core.journal import open_journal
from rstar_core.journal.key import JournalKey, journal_key
from rstar_core.problems.filters import Duplicate, Entry, Rejection, make_disjoint, near_copies
from rstar_core.problems.golds import check_readable, gold_rulings, gradable, why_unreadable, with_verdicts
from rstar_core.problems.load import Loaded, load_source
from rstar_core.reports.intake import intakes, report_facts, report_text
from rstar_core.store.objects import is_address
from rstar_core.store.publishing import publish
from rstar_core.types import Demonstration

PRECEDENCE: tuple[Split, ...] = ("benchmark", "demonstrations", "train")  # a held-out problem stays held out
_NUM_SHOWN = 20


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
        ungradable = [Rejection(one.file, one.line, why_unreadable(one.problem.answer, rulings)) for one in unreadable]
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


def unwatched(sources: Iterable[Source], data: Path) -> list[str]:
    """A line for each file of ``sources`` outside ``data``, the only folder that the pipeline depends on."""
    paths = dict.fromkeys(source.path for source in sources if isinstance(source, FileSource))
    again = "after a change run: dvc repro --force --single-item ingest"
    return [
        f"{path}: outside {data}/, so its changes are not seen; {again}"
        for path in paths
        if is_address(path) or ".." in Path(path).parts or not Path(path).absolute().is_relative_to(data.absolute())
    ]


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
    write_lines(path, map(asdict, rejections))
    for rejection in rejections[:_NUM_SHOWN]:
        print(rejection, file=sys.stderr)
    if len(rejections) > _NUM_SHOWN:
        print(f"... and {len(rejections) - _NUM_SHOWN} more, all in {path}", file=sys.stderr)
