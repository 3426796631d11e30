"""Journals for tests."""

from __future__ import annotations

from pathlib import Path

from rstar_core.journal.folder import FolderJournal
from rstar_core.journal.key import JournalKey

KEY = JournalKey("synthesize", "r1", {"problems": "1a"}, {"seed": 1}, "2b")


def journal_at(path: Path) -> FolderJournal:
    """What a worker that starts now sees there."""
    return FolderJournal(path, KEY)
