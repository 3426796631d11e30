"""A journal in a folder, local or shared: one append-only segment for each worker.

A segment is created exclusively, never opened for appending again, and locked for as long as its worker lives; the
kernel gives the lock back however the worker ends. A claim names its worker's segment, so it ends with the worker.
Appends and claims happen under the folder's lock: a key is recorded once, whoever is faster.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from rstar_core.errors import NO_ROOM, UserError
from rstar_core.io import write_json
from rstar_core.journal.frames import BadFrame, Place, frame, is_torn, scan, unframe
from rstar_core.journal.key import JournalKey
from rstar_core.store.publishing import sync_folder

KEY_FILE = "key.json"
_GONE = ".gone-"


@dataclass(slots=True)
class _Segment:
    """A segment as far as it has been read. ``is_reported``: what is wrong with its end has been said."""

    file: IO[bytes]
    end: int = 0
    is_reported: bool = False


class FolderJournal:
    """See ``rstar_core.journal.Journal``."""

    def __init__(self, place: Path | str, key: JournalKey) -> None:
        self._folder = Path(place)
        self._key = key
        self._segments: dict[str, _Segment] = {}
        self._places: dict[str, tuple[str, Place]] = {}
        self._own: str | None = None
        self._handle: IO[bytes] | None = None
        with self._locked():
            self._read_new()

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, key: str, value: Any) -> None:
        data = frame(key, value)
        with self._locked():
            handle = self._writer()
            self._read_new()
            if key not in self._places:
                self._write(handle, data)
                self._places[key] = (str(self._own), Place(handle.tell() - len(data), len(data)))
        self._lease(key).unlink(missing_ok=True)

    def read(self, keys: Iterable[str]) -> Iterator[Any]:
        for key in keys:
            name, place = self._places[key]
            data = os.pread(self._segments[name].file.fileno(), place.size, place.offset)
            try:
                yield unframe(data)[1]
            except BadFrame:
                where = f"{self._folder / name}: the frame at byte {place.offset} has changed since it was read"
                raise UserError(f"{where}; look after the disk, then run the same command again") from None

    def claim(self, key: str) -> bool:
        with self._locked():
            self._writer()
            self._read_new()
            lease = self._lease(key)
            if key in self._places or (lease.exists() and self._is_anothers(lease)):
                return False
            lease.parent.mkdir(exist_ok=True)
            lease.write_text(str(self._own))
        return True

    def refresh(self) -> None:
        with self._locked():
            self._read_new()

    def discard(self) -> None:
        with self._locked():
            others = [name for name in self._names() if name != self._own and self._is_alive(name)]
            if not others:
                self._folder.rename(self._folder.with_name(f"{_GONE}{self._folder.name}-{uuid4().hex[:8]}"))
        self.close()
        for left in self._folder.parent.glob(f"{_GONE}*"):  # ours, and that of a worker killed just here
            shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        for segment in self._segments.values():
            segment.file.close()
        if self._handle is not None:
            self._handle.close()
            self._handle = self._own = None
        self._segments.clear()

    # --- the folder -----------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder's lock; a folder that another worker has just discarded is made anew."""
        while True:
            self._make()
            try:
                handle = (self._folder / "lock").open("a+b")
            except FileNotFoundError:
                continue
            with handle:
                fcntl.flock(handle, fcntl.LOCK_EX)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle.fileno()), (self._folder / "lock").stat()):
                        yield
                        return

    def _make(self) -> None:
        if (self._folder / KEY_FILE).exists():
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._folder}: can't be made ({error.strerror}); mend it or set RSTAR_JOURNAL") from None
        write_json(self._folder / KEY_FILE, asdict(self._key))
        sync_folder(self._folder)
        sync_folder(self._folder.parent)

    def _names(self) -> list[str]:
        return sorted(
            entry.name for entry in os.scandir(self._folder) if entry.name.endswith(".segment") and entry.is_file()
        )

    def _lease(self, key: str) -> Path:
        return self._folder / "leases" / hashlib.sha256(key.encode()).hexdigest()[:32]

    def _is_anothers(self, lease: Path) -> bool:
        owner = lease.read_text()
        return owner != self._own and self._is_alive(owner)

    def _is_alive(self, name: str) -> bool:
        """Whether the worker that writes the segment lives."""
        try:
            with (self._folder / name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    # --- reading --------------------------------------------------------------------------------------------

    def _read_new(self) -> None:
        """Take in what other segments hold beyond what was read of them; the folder must be locked."""
        for name in self._names():
            if name != self._own:
                segment = self._segments.get(name) or self._open(name)
                if os.fstat(segment.file.fileno()).st_size > segment.end:
                    self._extend(name, segment)

    def _open(self, name: str) -> _Segment:
        self._segments[name] = _Segment((self._folder / name).open("rb"))
        return self._segments[name]

    def _extend(self, name: str, segment: _Segment) -> None:
        for key, place in scan(segment.file, segment.end):
            self._places.setdefault(key, (name, place))
            segment.end = place.end
        size = os.fstat(segment.file.fileno()).st_size
        if size > segment.end and not segment.is_reported and not self._is_alive(name):
            segment.is_reported = True
            print(f"journal: {self._damage(name, segment, size)}", file=sys.stderr)

    def _damage(self, name: str, segment: _Segment, size: int) -> str:
        left = f"the {size - segment.end} bytes from byte {segment.end} on"
        if is_torn(segment.file, segment.end, size):
            return f"{self._folder / name}: {left} are a torn tail, which was never acknowledged; dropped"
        return f"{self._folder / name}: bad frame at byte {segment.end}; {left} are not used, and are made again"

    # --- writing --------------------------------------------------------------------------------------------

    def _writer(self) -> IO[bytes]:
        """This worker's segment; the folder must be locked."""
        if self._handle is None:
            name = f"{time.time_ns()}-{os.getpid()}-{uuid4().hex[:8]}.segment"
            self._handle = (self._folder / name).open("xb", buffering=0)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            sync_folder(self._folder)
            self._own = name
            self._open(name)
        return self._handle

    def _write(self, handle: IO[bytes], data: bytes) -> None:
        start = handle.tell()
        try:
            written = 0
            while written < len(data):
                written += handle.write(data[written:])
            os.fdatasync(handle.fileno())
        except OSError as error:
            with suppress(OSError):
                handle.truncate(start)
                handle.seek(start)
            if error.errno not in NO_ROOM:
                raise
            raise UserError(
                f"{self._folder}: {os.strerror(error.errno or 0)}; {len(self)} finished records are safe; make room, "
                "then the same command continues"
            ) from None


def sweep(root: Path) -> None:
    """Remove what killed discards have left."""
    for folder in root.glob(f"{_GONE}*"):
        shutil.rmtree(folder, ignore_errors=True)
