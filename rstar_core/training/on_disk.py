"""What a training reads, as Arrow files in its scratch folder: they are mapped into memory, not loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from rstar_core.ppm.rendering import EncodedNode

_ROWS_AT_ONCE = 1024
_TOKENS = pa.list_(pa.int64())
_NODE = {"rows": pa.list_(_TOKENS), "pairs": pa.list_(_TOKENS)}
EXAMPLES = pa.schema({"input_ids": _TOKENS, "labels": _TOKENS})
NODE_GROUPS = pa.schema({"nodes": pa.list_(pa.struct(_NODE))})
NODES = pa.schema({**_NODE, "is_final": pa.bool_(), "problem_id": pa.string()})


def dataset_at(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Any:
    """Write ``rows`` to ``path``; the datasets.Dataset of them."""
    from datasets import Dataset

    path.parent.mkdir(parents=True, exist_ok=True)
    left = iter(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while some := list(islice(left, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
    return Dataset.from_file(str(path))


class StoredNodes(Sequence[EncodedNode]):
    """Nodes, of which no more are in memory than somebody looks at."""

    def __init__(self, path: Path, nodes: Iterable[EncodedNode]) -> None:
        rows = (
            {"rows": node.rows, "pairs": node.pairs, "is_final": node.is_final, "problem_id": node.problem_id}
            for node in nodes
        )
        self._rows = dataset_at(path, rows, NODES)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> EncodedNode: ...

    @overload
    def __getitem__(self, place: slice) -> list[EncodedNode]: ...

    def __getitem__(self, place: int | slice) -> EncodedNode | list[EncodedNode]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return _node(self._rows[place])

    def __iter__(self) -> Iterator[EncodedNode]:
        for some in self._rows.iter(_ROWS_AT_ONCE):
            for values in zip(*some.values(), strict=True):
                yield _node(dict(zip(some, values, strict=True)))


def _node(row: dict[str, Any]) -> EncodedNode:
    rows, pairs = (tuple(map(tuple, row[name])) for name in ("rows", "pairs"))
    return EncodedNode(rows, pairs, row["is_final"], row["problem_id"])
