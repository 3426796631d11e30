"""What a long stage has finished, on disk before it is counted as done: a killed stage goes on from here.

A journal is named after everything that its records depend on (``JournalKey``), so records of other inputs are never
used. It lies outside the stage's outputs, which DVC removes before a run: in the folder or under the ``s3://`` address
of ``RSTAR_JOURNAL``, or in ``journal``. Several workers may share one, on one machine or on many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from rstar_core.journal.key import JournalKey
from rstar_core.machine.variables import JOURNAL
from rstar_core.store.objects import is_address


class Journal(Protocol):
    """Finished records by key. A key's first record counts, and no later one is ever kept.

    Of the records only the keys and their places are in memory.
    """

    def __contains__(self, key: object) -> bool: ...

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def append(self, key: str, value: Any) -> None:
        """Record ``value`` (plain JSON); on return it is durable, or an earlier record of ``key`` is.

        Raises:
            UserError: there is no room for it; what was recorded before is safe.
        """
        ...

    def read(self, keys: Iterable[str]) -> Iterator[Any]:
        """The values of ``keys``, one by one in their order; each must have a record."""
        ...

    def claim(self, key: str) -> bool:
        """Whether the caller should make this record: there is none yet, and no living worker is at it."""
        ...

    def refresh(self) -> None:
        """See what other workers have recorded meanwhile."""
        ...

    def discard(self) -> None:
        """The records are published: forget them, unless another worker still needs them."""
        ...

    def close(self) -> None:
        """Give up what is claimed; the records stay."""
        ...


def journal_root() -> str:
    """Where journals lie: a folder or an ``s3://`` address."""
    return JOURNAL.get()


def open_journal(key: JournalKey) -> Journal:
    """The journal of ``key``, with what earlier or other workers have recorded in it.

    Raises:
        UserError: its place can't be used.
    """
    place = f"{journal_root().rstrip('/')}/{key.name}"
    if is_address(place):
        from rstar_core.journal.bucket import BucketJournal

        return BucketJournal(place, key)
    from rstar_core.journal.folder import FolderJournal

    return FolderJournal(place, key)
