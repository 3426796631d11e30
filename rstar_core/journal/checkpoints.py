"""Where a training keeps its checkpoints: beside the journals, named after its inputs, for one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rstar_core.errors import UserError
from rstar_core.io import files_under, read_json, write_json
from rstar_core.journal.folder import KEY_FILE
from rstar_core.journal.key import JournalKey
from rstar_core.store.publishing import sync_folder

SEAL = "seal.json"
_LOCAL = Path("journal")  # a trainer needs a file system


@contextmanager
def checkpoint_folder(key: JournalKey) -> Iterator[Path]:
    """A folder that outlives a killed training, and is gone when the block ends well: then all is published.

    Raises:
        UserError: another process is at this training.
    """
    folder = _LOCAL / key.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another process is at this training; wait for it or end it") from None
        write_json(folder / KEY_FILE, asdict(key))
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def seal(checkpoint: Path) -> None:
    """Say, durably, that ``checkpoint`` is whole; earlier ones are no longer needed."""
    write_json(checkpoint / SEAL, _digests(checkpoint))
    sync_folder(checkpoint.parent)
    for other in _checkpoints(checkpoint.parent):
        if other != checkpoint:
            shutil.rmtree(other, ignore_errors=True)


def newest(folder: Path) -> Path | None:
    """The last checkpoint that is whole and as it was sealed, if any; what is not is left out with a line."""
    for checkpoint in reversed(_checkpoints(folder)):
        if checkpoint.is_dir() and _sealed(checkpoint) == _digests(checkpoint):
            return checkpoint
        print(f"{checkpoint}: not whole; left out", file=sys.stderr)
    return None


def _sealed(checkpoint: Path) -> object:
    """What the seal says; None where there is none or it is damaged itself."""
    try:
        return read_json(checkpoint / SEAL)
    except (UserError, ValueError, OSError):
        return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def _digests(checkpoint: Path) -> dict[str, str]:
    names = (path.relative_to(checkpoint).as_posix() for path in files_under(checkpoint))
    return {name: _durable_digest(checkpoint / name) for name in names if not name.startswith((SEAL, f".{SEAL}"))}


def _durable_digest(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
