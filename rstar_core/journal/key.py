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

import yaml

from rstar_core.io import digest

_PACKAGE = Path(__file__).parents[1]
_ROOT = _PACKAGE.parent
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
    """Digest of the stage's code, of Python's version and of the libraries that matter.

    ``stage`` may be a part of one, ``train_ppm-control``. Its code is what dvc.yaml names as its dependencies, a list
    that a test holds; that of a command which is no stage is all of this package.
    """
    total = hashlib.sha256(f"python {platform.python_version()}\n".encode())
    for name in _LIBRARIES:
        total.update(f"{name} {_version(name)}\n".encode())
    for path in _code(stage):
        total.update(f"{path.relative_to(_ROOT)} {digest(path)}\n".encode())
    return total.hexdigest()


def _code(stage: str) -> list[Path]:
    name = stage.partition("-")[0]
    entry = yaml.load((_ROOT / "dvc.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)["stages"].get(name)
    if entry is None:
        return [*sorted(_PACKAGE.rglob("*.py")), *_ROOT.glob(f"tasks/commands/{name}.py")]
    files = [path for dep in entry.get("do", entry)["deps"] for path in _files(_ROOT / dep)]
    return sorted(files)


def _files(dep: Path) -> Iterable[Path]:
    """The Python files of a dependency on code; data has none."""
    return [dep] if dep.suffix == ".py" else dep.rglob("*.py") if dep.is_relative_to(_PACKAGE) else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
