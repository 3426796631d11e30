"""dvc.lock: what each stage ran from and made, and whether that is what lies here."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rstar_core.errors import UserError
from rstar_core.io import files_under

LOCK = Path("dvc.lock")
_WRITERS = Path(".dvc/tmp/lock")  # who writes dvc.lock has locked it; DVC writes in place, for seconds
_PATIENCE = 30.0  # seconds; DVC may also hold it while it copies results, and does not write then


def read_lock(lock: Path = LOCK) -> dict[str, Any]:
    """The stages of dvc.lock, none where there is no such file; by libyaml where it is there: Python takes a second.

    Raises:
        UserError: a full disk has torn it, or somebody has.
    """
    if not lock.exists():
        return {}
    with _unwritten():
        stages = stages_of(lock.read_text(encoding="utf-8"))
    if stages is None:
        raise UserError(f"{lock}: not whole; `git checkout {lock}`, or `make evolve`, which keeps what is whole of it")
    return stages


@contextmanager
def _unwritten() -> Iterator[None]:
    """While the context lasts no process of DVC writes; where one does not let go of its lock, it comes at once."""
    if not _WRITERS.exists():
        yield
        return
    deadline = time.monotonic() + _PATIENCE
    with _WRITERS.open("rb") as handle:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        yield


def stages_of(text: str) -> dict[str, Any] | None:
    """The stages of a dvc.lock's ``text``; None where it is not whole."""
    try:
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return None
    stages = found.get("stages") if isinstance(found, dict) else None
    return stages if isinstance(stages, dict) and all(isinstance(its, dict) for its in stages.values()) else None


def dvc_md5(path: Path) -> str:
    """The hash by which DVC knows a file or a folder (there: of the list of its files, with ``.dir``)."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "md5").hexdigest()
    files = sorted(file.relative_to(path).as_posix() for file in files_under(path))
    listing = json.dumps([{"md5": dvc_md5(path / file), "relpath": file} for file in files])
    return f"{hashlib.md5(listing.encode()).hexdigest()}.dir"


def fault(maker: str, out: dict[str, Any]) -> str:
    """What is wrong with an output of dvc.lock, empty where nothing is; the hash is worked out, never believed."""
    path = Path(out["path"])
    if not path.exists():
        return f"{path}: not here, but {maker} made it; run: dvc checkout {maker}"
    if dvc_md5(path) != out.get("md5"):
        return f"{path}: has changed since {maker} made it; run: dvc checkout --force {path}"
    return ""


def faults_under(paths: Iterable[Path]) -> list[str]:
    """What is wrong with those of ``paths``, and the files in them, that a stage has made."""
    wanted = set(paths)
    outs = [(name, out) for name, stage in read_lock().items() for out in stage.get("outs", [])]
    its = [(name, out) for name, out in outs if not wanted.isdisjoint((Path(out["path"]), *Path(out["path"]).parents))]
    return list(filter(None, (fault(name, out) for name, out in its)))
