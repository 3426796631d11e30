"""The nodes of a Ray cluster as the workers of one search.

Each node has its own sandbox and its own engines, with the node's GPUs. What it needs, code, data and models, reaches
it through Ray; what it makes goes to the journal of this process. For each worker there is one more process here, its
scribe: it claims and writes in the worker's name, and ends with it, so that the claims of the dead are free at once.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rstar_core.errors import UserError
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import JournalKey
from rstar_core.progress import Progress
from tasks.runner.cluster import PATIENCE_SECONDS, cause, connected
from tasks.runner.processes import num_processes
from tasks.runner.together import Shared

_LOOK_SECONDS = 1.0  # between looks at nodes, workers and the journal
_READ_AT_ONCE = 64  # records: each question takes a journey
_MAX_STARTS = 3  # of workers on one node that end before their work does, then the node is left alone


def by_nodes(shared: Shared, journal: Journal) -> str:
    """Have all trees in ``journal``, by the workers of all nodes; a node may come or go meanwhile.

    Raises:
        UserError: there is no Ray, no cluster, no node, or what a worker cannot mend.
    """
    with connected() as ray:
        return _Crew(ray, shared, journal).run()


@dataclass(frozen=True, slots=True)
class _Hand:
    """A worker on a node, the process here that writes for it, and the promise of its end."""

    node: str
    worker: Any
    scribe: Any
    end: Any


@dataclass(slots=True)
class _Crew:
    ray: Any
    shared: Shared
    journal: Journal
    hands: list[_Hand] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)  # workers that were started, by node
    packed: Any = None

    def run(self) -> str:
        self.packed = self.ray.put(pack(self.shared.files()))
        progress = Progress(self.shared.what, self.shared.num_trees(), "trees", done=len(self.journal))
        seen, last_seen = len(self.journal), time.monotonic()
        while True:
            self._welcome()
            if self.hands:
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > PATIENCE_SECONDS:
                raise UserError(f"{self.shared.what}: no node of the Ray cluster for {PATIENCE_SECONDS:.0f} s")
            level = self._look()
            self.journal.refresh()
            progress.advance(len(self.journal) - seen, f"{len({hand.node for hand in self.hands})} nodes")
            seen = len(self.journal)
            if level is not None:
                return level

    def _welcome(self) -> None:
        """Start workers on nodes that have none."""
        busy = {hand.node for hand in self.hands}
        wanted, is_served = num_processes(self.shared.engine), self.shared.engine.kind == "vllm"
        for node in self.ray.nodes():
            name, resources = node["NodeID"], node["Resources"]
            if not (node["Alive"] and resources.get("CPU")) or name in busy:
                continue
            if self.starts.get(name, 0) < _MAX_STARTS * wanted:
                self.starts[name] = self.starts.get(name, 0) + wanted
                self.hands += [self._hand(name, resources.get("GPU", 0) * is_served) for _ in range(wanted)]

    def _hand(self, node: str, num_gpus: float) -> _Hand:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        def on(where: str) -> dict[str, Any]:
            return {"scheduling_strategy": NodeAffinitySchedulingStrategy(where, soft=False), "num_cpus": 0}

        here = self.ray.get_runtime_context().get_node_id()
        # The journal may lie on a store; nodes, which run what models write, do without its credentials.
        store = {"env_vars": {name: value for name, value in os.environ.items() if name.startswith("AWS_")}}
        scribe = self.ray.remote(Scribe).options(**on(here), runtime_env=store)
        scribe = scribe.remote(str(Path.cwd()), self.shared.key())
        worker = self.ray.remote(Worker).options(**on(node), num_gpus=num_gpus).remote()
        return _Hand(node, worker, scribe, worker.work.remote(self.packed, self.shared, scribe))

    def _look(self) -> str | None:
        """The isolation of a worker that has come to the end, which is the end of all."""
        ended, _ = self.ray.wait([hand.end for hand in self.hands], timeout=_LOOK_SECONDS) if self.hands else ((), ())
        if not self.hands:
            time.sleep(_LOOK_SECONDS)
        for hand in [hand for hand in self.hands if hand.end in ended]:
            try:
                return str(self.ray.get(hand.end))
            except self.ray.exceptions.RayActorError as error:
                print(f"{self.shared.what}: lost a worker on node {hand.node[:8]}: {_line(error)}", file=sys.stderr)
                self.hands.remove(hand)
                self.ray.kill(hand.scribe)
            except self.ray.exceptions.RayTaskError as error:
                raise cause(error) from None
        return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


# --- on a node ------------------------------------------------------------------------------------------------


class Worker:
    """Works in a folder of its own, in which the inputs lie under the names that they have where the stage runs."""

    def work(self, packed: bytes, shared: Shared, scribe: Any) -> str:
        with tempfile.TemporaryDirectory() as folder:
            unpack(packed, Path(folder))
            os.chdir(folder)
            try:
                return shared.work(DistantJournal(scribe))
            finally:
                os.chdir("/")


class DistantJournal:
    """A journal that somebody else keeps, for a worker on another machine; see ``rstar_core.journal.Journal``."""

    def __init__(self, scribe: Any) -> None:
        self._scribe = scribe
        self._is_there: dict[str, bool] = {}  # keys that were asked for

    def __contains__(self, key: object) -> bool:
        name = str(key)
        if name not in self._is_there:
            (self._is_there[name],) = self._ask("has", [name])
        return self._is_there[name]

    def __len__(self) -> int:
        return int(self._ask("number"))

    def append(self, key: str, value: Any) -> None:
        self._ask("append", key, value)
        self._is_there[key] = True

    def read(self, keys: Iterable[str]) -> Iterator[Any]:
        left = iter(keys)
        while some := list(islice(left, _READ_AT_ONCE)):
            yield from self._ask("read", some)

    def claim(self, key: str) -> bool:
        return bool(self._ask("claim", key))

    def refresh(self) -> None:
        asked = [key for key, is_there in list(self._is_there.items()) if not is_there]
        self._is_there.update(zip(asked, self._ask("has", asked), strict=True))

    def discard(self) -> None:
        """The keeper's to do."""

    def close(self) -> None:
        """The claims end with the scribe."""

    def _ask(self, name: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self._scribe, name).remote(*arguments))


# --- beside the stage -----------------------------------------------------------------------------------------


class Scribe:
    """The journal of the stage in ``folder``, in the name of one worker."""

    def __init__(self, folder: str, key: JournalKey) -> None:
        os.chdir(folder)
        self._journal = open_journal(key)

    def append(self, key: str, value: Any) -> None:
        self._journal.append(key, value)

    def read(self, keys: list[str]) -> list[Any]:
        return list(self._journal.read(keys))

    def claim(self, key: str) -> bool:
        return self._journal.claim(key)

    def has(self, keys: list[str]) -> list[bool]:
        """Of each key, whether there is a record."""
        self._journal.refresh()
        return [key in self._journal for key in keys]

    def number(self) -> int:
        return len(self._journal)


def pack(paths: Sequence[Path]) -> bytes:
    """Files and folders, with their names."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for path in paths:
            archive.add(path)
    return sink.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
