"""What a journal's records depend on, and the name that follows from it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rstar_core.io import digest

_PACKAGE = Path(__file__).parents[1]
# What these do decides samples, verdicts and weights.
_LIBRARIES = ("math-verify", "reasoning-gym", "sympy", "tokenizers", "torch", "transformers", "trl")


@dataclass(frozen=True, slots=True)
class JournalKey:
    """``inputs`` are digests by path, ``params`` plain JSON by dotted key of ``params.yaml``, ``code`` a digest."""

    stage: str
    round_id: str
    inputs: Mapping[str, str]
    params: Mapping[str, Any]
    code: str

    @property
    def name(self) -> str:
        stated = json.dumps(asdict(self), sort_keys=True)
        return f"{self.stage}-{self.round_id}-{hashlib.sha256(stated.encode()).hexdigest()[:16]}"


def journal_key(stage: str, round_id: str, inputs: Iterable[Path], params: Mapping[str, Any]) -> JournalKey:
    """The key of a stage's records now: digests of its input files and folders, its config sections, our code."""
    digests = {str(path): digest(path) for path in inputs}
    return JournalKey(
        stage, round_id, digests, {name: plain(value) for name, value in params.items()}, code_version(stage)
    )


def plain(value: Any) -> Any:
    """A config section or a number as plain JSON."""
    return value.model_dump(mode="json", by_alias=True) if hasattr(value, "model_dump") else value


@cache
def code_version(stage: str) -> str:
    """Digest of this package and of the stage's file, of Python's version and of the libraries that matter."""
    total = hashlib.sha256(f"python {platform.python_version()}\n".encode())
    for name in _LIBRARIES:
        total.update(f"{name} {_version(name)}\n".encode())
    for file in (*sorted(_PACKAGE.rglob("*.py")), *_PACKAGE.parent.glob(f"tasks/{stage}.py")):
        total.update(f"{file.relative_to(_PACKAGE.parent)} {digest(file)}\n".encode())
    return total.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
