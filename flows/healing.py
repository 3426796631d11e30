"""What a full disk or a kill leaves of DVC's own files, mended before DVC reads them; else it would refuse for ever."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from rstar_core.store.publishing import publish
from tasks.runner.lock import LOCK, stages_of

RWLOCK = Path(".dvc/tmp/rwlock")  # JSON: which processes of DVC read and write what
FIRST_LINE = re.compile(r"^  (?=\S)", re.M)  # of a stage


def heal() -> None:
    """Mend both. Whoever calls it holds the workspace, so that no other flow uses them."""
    heal_lock()
    heal_rwlock()


def heal_lock() -> None:
    """Cut a torn dvc.lock behind its last whole stage. The others do not run again: DVC's cache has their results."""
    if not LOCK.exists():
        return
    text = LOCK.read_text("utf-8", errors="replace")
    if stages_of(text) is not None:
        return
    starts = [match.start() for match in FIRST_LINE.finditer(text)]
    kept = next((text[:start] for start in reversed(starts) if stages_of(text[:start])), "")
    number = len(stages_of(kept) or ())
    print(f"{LOCK}: not whole; kept {number} stages of it, DVC's cache has the others", file=sys.stderr)
    if kept:
        with publish(LOCK, "w") as handle:
            handle.write(kept)
    else:
        LOCK.unlink()


def settle(order: Iterable[str]) -> None:
    """Put the stages of dvc.lock in ``order``, others behind: DVC adds them as they end, which differs from run to run.

    Whoever calls it holds the workspace, and nothing of DVC runs.
    """
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else ""
    starts = [match.start() for match in FIRST_LINE.finditer(text)]
    if not starts:
        return
    blocks = [text[start:end] for start, end in pairwise([*starts, len(text)])]
    place = {name: number for number, name in enumerate(order)}
    settled = text[: starts[0]] + "".join(sorted(blocks, key=lambda its: place.get(_name(its), len(place))))
    if settled != text:
        with publish(LOCK, "w") as handle:
            handle.write(settled)


def _name(block: str) -> str:
    return block.partition(":")[0].strip().strip("'\"")


def heal_rwlock() -> None:
    """Remove a rwlock that is torn, or that names none but processes that have ended (their ids may be others' now)."""
    with suppress(FileNotFoundError):
        if not any(map(_is_dvc, _pids(RWLOCK.read_text("utf-8", errors="replace")))):
            RWLOCK.unlink()


def _pids(text: str) -> list[int]:
    try:
        entries = json.loads(text)
        writers, readers = entries.get("write", {}).values(), entries.get("read", {}).values()
        return [int(its["pid"]) for its in [*writers, *(one for some in readers for one in some)]]
    except (ValueError, AttributeError, KeyError, TypeError):
        return []


def _is_dvc(pid: int) -> bool:
    with suppress(OSError):
        return b"dvc" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
