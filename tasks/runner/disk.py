"""Whether the disk has room for what a stage will make: better to know before hours of work than after."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from rstar_core.errors import NO_ROOM, UserError
from rstar_core.machine.variables import MIN_FREE_MIB

_SAID = ("No space left on device", "StorageFull", "Disk quota exceeded")
_LAST_BYTES = 1 << 17  # with so little left, whatever failed did so for want of room
_PER_INPUT = 4  # a training's checkpoint holds weights and two moments for each, and the next one is beside it


def check_room(inputs: Iterable[Path]) -> None:
    """Raises UserError where less is free here than the floor and a multiple of the stage's inputs."""
    needed = (MIN_FREE_MIB.get() << 20) + _PER_INPUT * sum(map(size, inputs))
    free = shutil.disk_usage(Path.cwd()).free
    if free < needed:
        raise UserError(
            f"{Path.cwd()}: {free >> 20} MiB are free, and this stage may need {needed >> 20}; make room, then run the "
            f"same command again ({MIN_FREE_MIB.name} sets the floor)"
        )


def size(path: Path) -> int:
    """Bytes of a file or of all files of a folder."""
    from rstar_core.io import files_under  # Parquet and all: too much for a look whether the environment is whole

    return sum(file.stat().st_size for file in files_under(path))


def is_full(error: BaseException) -> bool:
    """Whether ``error`` comes of a disk without room, or a quota without any.

    Libraries of weights and checkpoints say so in words of their own, or that a write failed and not why.
    """
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    says_so = any(text in str(error) for text in _SAID)
    return says_so or shutil.disk_usage(Path.cwd()).free < _LAST_BYTES
