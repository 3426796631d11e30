"""What a stage reads must be what was made for it, and stay so until the stage has ended.

DVC knows a file by its time and size: a bit that a disk has lost goes unnoticed. And it writes down the hashes of a
stage's inputs at the end: of one that changed meanwhile, the result would be of the old text and the lock of the new
one, and nothing would ever run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rstar_core.errors import UserError
from rstar_core.io import files_under
from tasks.runner.lock import faults_under

STAGE_VARIABLE = "DVC_STAGE"  # by which DVC tells a command the stage that it is run for
NOT_AN_INPUT = ".pyc"  # compiled beside the code as it is loaded

Signature = dict[Path, tuple[int, int, int]]


@contextmanager
def sound(paths: Collection[Path], params: Callable[[], Any]) -> Iterator[None]:
    """Run a block that reads ``paths`` and was given ``params()``, and look before it and after it whether it may.

    Where DVC runs the stage: its dependencies on code count, too. Elsewhere nothing is written down, or looked at.

    Raises:
        UserError: one of ``paths`` is not what its stage has made, or one of all these changed meanwhile.
    """
    stage = os.environ.get(STAGE_VARIABLE)
    if stage is None:
        yield
        return
    if faults := faults_under(paths):
        raise UserError("; ".join(faults))
    watched = sorted({*paths, *_code_of(stage)})
    before, values = {path: _signature(path) for path in watched}, params()
    yield
    changed = [str(path) for path in watched if _signature(path) != before[path]]
    changed += [] if params() == values else ["params.yaml"]
    if changed:
        raise UserError(
            f"{', '.join(changed)} changed while the stage ran, so its result is of what was there before; "
            "the same command runs it again"
        )


def _code_of(stage: str) -> list[Path]:
    """The dependencies of ``stage`` that dvc.yaml names in full, as it names code."""
    found = yaml.safe_load(Path("dvc.yaml").read_text("utf-8"))["stages"][stage.partition("@")[0]]
    return [Path(path) for path in found.get("do", found)["deps"] if "${" not in path]


def _signature(path: Path) -> Signature:
    """Inode, size and time of the last change of each file at or under ``path``."""
    return {file: _of_file(file) for file in files_under(path) if not file.name.endswith(NOT_AN_INPUT)}


def _of_file(file: Path) -> tuple[int, int, int]:
    its = file.stat()
    return its.st_ino, its.st_size, its.st_mtime_ns
