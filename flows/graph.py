"""dvc.yaml as the flows see it: which stages a round needs, in order, and which are stale. No stage is named here.

DVC's own loader reads the file, so foreach, templates and edges mean here what they mean to ``dvc repro``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx
import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo

from rstar_core.errors import UserError


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: ``name`` is DVC's address of it (``verify@r2``), ``round_id`` is null before the first round."""

    name: str
    round_id: str | None
    num_retries: int
    outputs: tuple[Path, ...]

    def output(self, suffix: str) -> Path:
        """The stage's output file with that suffix."""
        return next(path for path in self.outputs if path.suffix == suffix)


def closure(round_id: str, rounds: Sequence[str]) -> list[Stage]:
    """Every stage that ``round_id`` needs, itself included: round by round, dependencies first."""
    with _repository() as repo:
        graph = repo.index.graph
        position = {node: index for index, node in enumerate(repo.index.stages)}
        ordered: dict[Any, None] = {}
        needed = _needs(graph, round_id)
        for earlier in rounds[: rounds.index(round_id) + 1]:
            wanted = graph.subgraph(needed & _needs(graph, earlier)).reverse()
            ordered.update(dict.fromkeys(networkx.lexicographical_topological_sort(wanted, position.get)))
        return [_stage(node) for node in ordered]


def _needs(graph: Any, round_id: str) -> set[Any]:
    members = {node for node in graph if _round_of(node) == round_id}
    return members.union(*(networkx.descendants(graph, node) for node in members))


def _round_of(node: Any) -> str | None:
    return node.addressing.partition("@")[2] or None


def _stage(node: Any) -> Stage:
    outputs = tuple(Path(out.fs_path).relative_to(node.repo.root_dir) for out in node.outs)
    return Stage(node.addressing, _round_of(node), int((node.meta or {}).get("retries", 0)), outputs)


def stale(stages: Iterable[Stage]) -> dict[str, list[str]]:
    """Those of ``stages`` that have run and no longer match what they ran from, each with DVC's reasons.

    A stage that never ran is not stale, and neither is one whose files are merely absent (a fresh clone).
    """
    names = _recorded() & {stage.name for stage in stages}
    if not names:
        return {}
    with _repository() as repo:
        status = repo.status(targets=sorted(names))
    reasons = {name: [text for entry in entries for text in _reasons(entry)] for name, entries in status.items()}
    return {name: texts for name, texts in reasons.items() if texts}


def _recorded() -> set[str]:
    lock = Path("dvc.lock")
    return set(yaml.safe_load(lock.read_text())["stages"]) if lock.exists() else set()


def _reasons(entry: str | dict[str, Any]) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
        return
    for path, state in [pair for paths in entry.values() for pair in paths.items()]:
        if isinstance(state, dict):
            yield from (f"{path}: {key} {change}" for key, change in state.items())
        elif state not in ("deleted", "not in cache"):
            yield f"{path} {state}"


@contextmanager
def _repository() -> Iterator[Any]:
    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"dvc: {' '.join(str(error).split())}") from error
