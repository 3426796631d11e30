"""``python -m tasks journals``: what interrupted stages have kept, and which of it no stage will ever use again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.config import Params, load_params
from rstar_core.errors import UserError
from rstar_core.io import digest, read_json
from rstar_core.journal import journal_root
from rstar_core.journal.folder import KEY_FILE, sweep
from rstar_core.journal.key import JournalKey, code_version, plain
from rstar_core.store.objects import is_address

CHECKPOINTS = Path("journal")  # of trainings, wherever journals lie


@dataclass(frozen=True, slots=True)
class Kept:
    """A journal or checkpoints. ``reasons``: what has changed since; with none the stage will go on from it."""

    folder: Path
    reasons: tuple[str, ...]


def kept() -> Iterator[Kept]:
    """What lies in ``journal`` and, where ``RSTAR_JOURNAL`` names another folder, there.

    Raises:
        UserError: it names an address on an object store.
    """
    for root in _roots():
        for file in sorted(root.glob(f"*/{KEY_FILE}")):
            yield Kept(file.parent, tuple(_reasons(JournalKey(**read_json(file)))))


def remove_stale() -> list[Path]:
    """Remove what no stage can use; what was removed."""
    stale = [one.folder for one in kept() if one.reasons]
    for folder in stale:
        shutil.rmtree(folder)
    for root in _roots():
        sweep(root)
    return stale


def _roots() -> list[Path]:
    place = journal_root()
    if is_address(place):
        raise UserError(
            f"RSTAR_JOURNAL={place}: journals on an object store are not listed; look there with its own tools"
        )
    return list(dict.fromkeys([CHECKPOINTS, Path(place)]))


def _reasons(key: JournalKey) -> Iterator[str]:
    if key.code != code_version(key.stage):
        yield "the code has changed"
    for path, its in key.inputs.items():
        if not Path(path).exists():
            yield f"{path} is gone"
        elif digest(path) != its:
            yield f"{path} has changed"
    params = load_params()
    for name, value in key.params.items():
        is_param = name in type(params).model_fields or name.startswith("rounds.")
        if is_param and _now(params, name) != value:
            yield f"params.yaml: {name} has changed"


def _now(params: Params, name: str) -> Any:
    if name.startswith("rounds."):
        return plain(params.rounds.get(name.removeprefix("rounds.")))
    return plain(getattr(params, name))
