"""A journal on an object store: one object for each record, put once and only if it is not there yet.

A store that does not honour ``If-None-Match`` would let a second record replace the first; it is refused at the start.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from rstar_core.errors import UserError
from rstar_core.io import json_bytes
from rstar_core.journal.frames import BadFrame, frame, unframe
from rstar_core.journal.key import JournalKey
from rstar_core.store.objects import create_object, exclusive_store

BEAT_SECONDS = 20.0
DEAD_AFTER_SECONDS = 90.0
_REFRESH_SECONDS = 5.0
_LISTING_SHARE = 0.1  # of a worker's time at most: a listing is a request for each 1,000 records


class BucketJournal:
    """See ``rstar_core.journal.Journal``. A worker's beat says that its claims still hold.

    Ages are differences between the store's own times, so no clock but the store's matters.
    """

    def __init__(self, place: str, key: JournalKey) -> None:
        self._files, self._root = exclusive_store(place)
        self._own = uuid4().hex
        self._records: set[str] = set()
        self._next_listing = 0.0
        self._listing = threading.Lock()
        with suppress(FileExistsError):
            create_object(self._files, f"{self._root}/key.json", json_bytes(asdict(key)))
        self._beat()
        self._is_closed = threading.Event()
        threading.Thread(target=self._keep_beating, daemon=True).start()
        self.refresh()

    def __contains__(self, key: object) -> bool:
        return _name(str(key)) in self._records

    def __len__(self) -> int:
        return len(self._records)

    def append(self, key: str, value: Any) -> None:
        with suppress(FileExistsError):  # another worker was faster, and its record counts
            create_object(self._files, self._record(_name(key)), frame(key, value))
        self._records.add(_name(key))
        with suppress(FileNotFoundError):
            self._files.rm_file(self._lease(key))

    def read(self, keys: Iterable[str]) -> Iterator[Any]:
        for key in keys:
            path = self._record(_name(key))
            try:
                found, value = unframe(self._files.cat_file(path))
            except BadFrame:
                found, value = None, None
            if found != key:
                raise UserError(f"{path}: not a whole record; remove it, then the same command makes it again")
            yield value

    def claim(self, key: str) -> bool:
        self.refresh()
        if key in self:
            return False
        lease = self._lease(key)
        try:
            create_object(self._files, lease, self._own.encode())
        except FileExistsError:
            return self._take_over(lease)
        return not self._was_made_meanwhile(key, lease)

    def _was_made_meanwhile(self, key: str, lease: str) -> bool:
        """Whether another worker has made it since the last listing, and let go of its claim."""
        self._files.invalidate_cache()
        if not self._files.exists(self._record(_name(key))):
            return False
        self._records.add(_name(key))
        with suppress(FileNotFoundError):
            self._files.rm_file(lease)
        return True

    def refresh(self) -> None:
        """As often as it is worth: where a listing is slow, the next one is a long way off."""
        started = time.monotonic()
        if started < self._next_listing or not self._listing.acquire(blocking=False):  # nobody waits for another's
            return
        try:
            self._files.invalidate_cache()
            with suppress(FileNotFoundError):
                self._records |= {path.rpartition("/")[2] for path in self._files.find(f"{self._root}/records")}
            ended = time.monotonic()
            self._next_listing = ended + max(_REFRESH_SECONDS, (ended - started) / _LISTING_SHARE)
        finally:
            self._listing.release()

    def discard(self) -> None:
        others = [name for name in self._writers() if name != self._own and self._is_alive(name)]
        self.close()
        if not others:
            with suppress(FileNotFoundError):
                self._files.rm(self._root, recursive=True)

    def close(self) -> None:
        self._is_closed.set()
        with suppress(FileNotFoundError):
            self._files.rm_file(self._writer(self._own))

    def _record(self, name: str) -> str:
        return f"{self._root}/records/{name}"

    def _lease(self, key: str) -> str:
        return f"{self._root}/leases/{_name(key)}"

    def _writer(self, name: str) -> str:
        return f"{self._root}/writers/{name}"

    def _writers(self) -> list[str]:
        self._files.invalidate_cache()
        with suppress(FileNotFoundError):
            return [path.rpartition("/")[2] for path in self._files.find(f"{self._root}/writers")]
        return []

    def _take_over(self, lease: str) -> bool:
        """Claim what a dead worker had claimed. Two may do so at once; still only one record will count."""
        try:
            owner = self._files.cat_file(lease).decode()
        except FileNotFoundError:  # its owner has just finished
            return False
        if owner != self._own and self._is_alive(owner):
            return False
        self._files.pipe_file(lease, self._own.encode())
        return True

    def _is_alive(self, name: str) -> bool:
        self._files.invalidate_cache()
        try:
            theirs, ours = (self._files.modified(self._writer(one)) for one in (name, self._own))
        except FileNotFoundError:
            return False
        return bool((ours - theirs).total_seconds() < DEAD_AFTER_SECONDS)

    def _beat(self) -> None:
        self._files.pipe_file(self._writer(self._own), b"")

    def _keep_beating(self) -> None:
        while not self._is_closed.wait(BEAT_SECONDS):
            try:
                self._beat()
            except OSError as error:
                print(f"journal: {self._root}: no beat ({error}); others may take over our claims", file=sys.stderr)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
