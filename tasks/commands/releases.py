"""A finished round on an object store, whole or not at all, for readers who have no DVC.

Under ``<address>/<round>/`` every distinct file is one object, ``files/<sha256>``, and ``manifest.json`` says which
file of the round is which object. The manifest is put last and is one PUT, so readers see the old round or the new one.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.errors import UserError
from rstar_core.io import digest, json_bytes
from rstar_core.progress import Progress
from rstar_core.store.objects import is_address, open_store, told
from rstar_core.store.publishing import publish_folder
from tasks.runner.workspace import ARTIFACTS

MANIFEST = "manifest.json"
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Released:
    """What a release took: files of the round, those whose content was not there yet, and their bytes."""

    num_files: int
    num_sent: int
    num_bytes: int


def release(round_id: str, address: str) -> Released:
    """Put ``artifacts/<round_id>`` under ``address``; what is there already is not sent again.

    Raises:
        UserError: the round has not been summarised, or the store can't be used.
    """
    folder = ARTIFACTS / round_id
    if not (folder / "summary.json").is_file():
        raise UserError(f"{folder}: no finished round to release; run: dvc repro summarize@{round_id}")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    stated = {path.relative_to(folder).as_posix(): digest(path) for path in paths}
    path_of = {stated[path.relative_to(folder).as_posix()]: path for path in paths}
    with told(address):
        files, root = _open(address, round_id)
        there = _sizes(files, f"{root}/files")
        missing = [sha for sha, path in path_of.items() if there.get(sha) != path.stat().st_size]
        progress = Progress(f"release {round_id}", len(missing), "files")

        def send(sha: str) -> int:
            files.put_file(str(path_of[sha]), f"{root}/files/{sha}")
            progress.advance(1)
            return path_of[sha].stat().st_size

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            num_bytes = sum(pool.map(send, missing))
        files.pipe_file(f"{root}/{MANIFEST}", json_bytes({"round_id": round_id, "files": stated}))
    return Released(len(stated), len(missing), num_bytes)


def fetch(round_id: str, address: str, folder: Path) -> int:
    """Bring a released round into ``folder``, which must not exist yet; how many files it has.

    Raises:
        UserError: it is not there, not what its manifest states, or the store can't be used; then there is no folder.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; name another folder")
    with told(address):
        files, root = _open(address, round_id)
        stated = _stated(files, f"{root}/{MANIFEST}", address, round_id)
        progress = Progress(f"fetch {round_id}", len(stated), "files")
        with publish_folder(folder) as made:

            def bring(name: str) -> None:
                target = made / name
                target.parent.mkdir(parents=True, exist_ok=True)
                files.get_file(f"{root}/files/{stated[name]}", str(target))
                if digest(target) != stated[name]:
                    raise UserError(f"{address}/{round_id}: {name} is not what the manifest states; release it again")
                progress.advance(1)

            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(bring, stated))
    return len(stated)


def _stated(files: Any, path: str, address: str, round_id: str) -> dict[str, str]:
    """The manifest's file names, none of which leads out of the folder, with their sha256."""
    try:
        stated: dict[str, str] = json.loads(files.cat_file(path))["files"]
    except FileNotFoundError:
        raise UserError(f"{address}/{round_id}: no released round; python -m tasks release puts one there") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{address}/{round_id}/{MANIFEST}: not a manifest; release the round again") from None
    for name in stated:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{address}/{round_id}/{MANIFEST}: '{name}' leads out of the folder; do not trust it")
    return stated


def _open(address: str, round_id: str) -> tuple[Any, str]:
    if not is_address(address):
        raise UserError(f"{address}: not an address; name one such as s3://bucket/prefix")
    files, root = open_store(address)
    files.invalidate_cache()
    return files, f"{root.rstrip('/')}/{round_id}"


def _sizes(files: Any, root: str) -> dict[str, int]:
    """The objects that are there, by name; a reader does not count those that a broken transfer left short."""
    found = files.find(root, detail=True)
    return {path.rpartition("/")[2]: info["size"] for path, info in found.items()}
