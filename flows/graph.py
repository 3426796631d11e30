"""dvc.yaml as the flows see it: which stages a round needs, in order, and which are stale. No stage is named here.

DVC's own loader reads the file, so foreach, templates and edges mean here what they mean to ``dvc repro``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import networkx
from dvc.exceptions import DvcException
from dvc.repo import Repo

from rstar_core.errors import UserError
from tasks.runner.lock import read_lock


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: ``name`` is DVC's address of it (``verify@r2``), ``round_id`` is null before the first round.

    ``needs`` are the names of the stages whose outputs it reads.
    """

    name: str
    round_id: str | None
    num_retries: int
    command: str
    outputs: tuple[Path, ...]
    needs: frozenset[str] = frozenset()

    def output(self, name: str) -> Path:
        """The stage's output file of that name."""
        return next(path for path in self.outputs if path.name == name)


def closure(round_id: str, rounds: Sequence[str]) -> list[Stage]:
    """Every stage that ``round_id`` needs, itself included: round by round, dependencies first."""
    with _repository() as repo:
        return _closure(repo, round_id, rounds)


def plan(rounds: Sequence[str]) -> dict[str, list[Stage]]:
    """What each of ``rounds`` needs beyond what those before it need, in the order of ``closure``."""
    with _repository() as repo:
        done: set[Stage] = set()
        found = {}
        for round_id in rounds:
            found[round_id] = [stage for stage in _closure(repo, round_id, rounds) if stage not in done]
            done.update(found[round_id])
        return found


def _closure(repo: Any, round_id: str, rounds: Sequence[str]) -> list[Stage]:
    graph = repo.index.graph
    position = {node: index for index, node in enumerate(repo.index.stages)}
    ordered: dict[Any, None] = {}
    needed = _needs(graph, round_id)
    for earlier in rounds[: rounds.index(round_id) + 1]:
        wanted = graph.subgraph(needed & _needs(graph, earlier)).reverse()
        ordered.update(dict.fromkeys(networkx.lexicographical_topological_sort(wanted, position.get)))
    return [_stage(node, graph) for node in ordered]


def _needs(graph: Any, round_id: str) -> set[Any]:
    members = {node for node in graph if _round_of(node) == round_id}
    return members.union(*(networkx.descendants(graph, node) for node in members))


def _round_of(node: Any) -> str | None:
    return node.addressing.partition("@")[2] or None


def _stage(node: Any, graph: Any) -> Stage:
    outputs = tuple(Path(out.fs_path).relative_to(node.repo.root_dir) for out in node.outs)
    needs = frozenset(other.addressing for other in graph.successors(node))
    num_retries = int((node.meta or {}).get("retries", 0))
    return Stage(node.addressing, _round_of(node), num_retries, str(node.cmd), outputs, needs)


def stale(stages: Iterable[Stage]) -> dict[str, list[str]]:
    """Those of ``stages`` that have run and no longer match what they ran from, each with DVC's reasons.

    A stage that never ran is not stale, and neither is one whose files are merely absent (a fresh clone).
    """
    names = _recorded() & {stage.name for stage in stages}
    status = _status(names)
    reasons = {name: [text for entry in entries for text in _reasons(entry)] for name, entries in status.items()}
    return {name: texts for name, texts in reasons.items() if texts}


def unchanged(stages: Sequence[Stage]) -> set[str]:
    """The names of those, from the first on, that DVC would not run: all before the first that it would.

    Asked once for all, where to ask for each takes DVC a second or two.
    """
    recorded = _recorded()
    status = _status(recorded & {stage.name for stage in stages})
    return {stage.name for stage in takewhile(lambda one: one.name in recorded and one.name not in status, stages)}


def _status(names: Iterable[str]) -> dict[str, list[Any]]:
    """DVC's word on the recorded stages ``names``: an entry for each that it would run.

    It is asked about all: for each target that it is given it reads dvc.yaml and dvc.lock again.
    """
    wanted = set(names)
    if not wanted:
        return {}
    with _repository() as repo:
        found: dict[str, list[Any]] = repo.status()
    return {name: entries for name, entries in found.items() if name in wanted}


def _recorded() -> set[str]:
    return set(read_lock())


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
