"""Data sets too large for one file: sealed Parquet shards, named after what they hold, and a manifest, made last.

Readers trust the manifest alone. Where there is none, nothing was published; what it names has the size and the
sha256 that it states, or is refused. Local or ``s3://``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rstar_core.errors import UserError
from rstar_core.io import TREES, json_bytes, row_from_tree, table_bytes, table_rows, tree_from_row
from rstar_core.store.places import place_of
from rstar_core.types import SearchTree

MANIFEST = "manifest.json"
ROWS_PER_SHARD = 128


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a data set. ``name`` begins with its place in the order and ends in its digest."""

    name: str
    num_rows: int
    num_bytes: int
    sha256: str


def write_shards(place: Path | str, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Publish ``rows`` (in their final order) in a folder or under an ``s3://`` address; how many there were.

    Raises:
        FileExistsError: there is a data set already.
    """
    store = place_of(place, is_exclusive=True)
    shards = []
    for number, chunk in enumerate(_chunks(rows, ROWS_PER_SHARD)):
        data = table_bytes(chunk, schema)
        sha256 = hashlib.sha256(data).hexdigest()
        shard = Shard(f"{number:05d}-{sha256[:16]}.parquet", len(chunk), len(data), sha256)
        store.write(shard.name, data)
        shards.append(shard)
    num_rows = sum(shard.num_rows for shard in shards)
    manifest = {"columns": schema.names, "num_rows": num_rows, "shards": [asdict(shard) for shard in shards]}
    store.create(MANIFEST, json_bytes(manifest))
    return num_rows


def read_shards(
    place: Path | str, schema: pa.Schema, without: Sequence[str] = (), having: pc.Expression | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a data set, or those ``having``, a shard in memory at a time; the columns ``without`` are not read.

    Raises:
        UserError: there is no data set, or not the one that its manifest states.
    """
    for shard in manifest(place):
        data = sealed(place, shard)
        yield from table_rows(pa.BufferReader(data), f"{place}/{shard.name}", schema, without, having)


def manifest(place: Path | str) -> list[Shard]:
    """The shards of a data set, in order.

    Raises:
        UserError: it is not there or not whole.
    """
    where = f"{place}/{MANIFEST}"
    try:
        stated = json.loads(place_of(place).read(MANIFEST))
        return [Shard(**shard) for shard in stated["shards"]]
    except FileNotFoundError:
        raise UserError(f"{where}: not found; run the stage that makes it (dvc repro)") from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{where}: not a manifest ({error}); run the stage that makes it again") from None


def sealed(place: Path | str, shard: Shard) -> bytes:
    """A shard's bytes, if they are those that were sealed.

    Raises:
        UserError: it is missing or has changed.
    """
    where = f"{place}/{shard.name}"
    try:
        data = place_of(place).read(shard.name)
    except FileNotFoundError:
        raise UserError(f"{where}: in the manifest, but not there; run the stage that makes it again") from None
    if len(data) != shard.num_bytes or hashlib.sha256(data).hexdigest() != shard.sha256:
        raise UserError(f"{where}: not what was sealed (sha256 {shard.sha256[:16]}); run the stage that makes it again")
    return data


def write_trees(place: Path | str, trees: Iterable[SearchTree]) -> int:
    return write_shards(place, map(row_from_tree, trees), TREES)


def stream_trees(place: Path | str, problem_ids: Collection[str] | None = None) -> Iterator[SearchTree]:
    """Without their generations, which are most of the data; those of some problems, where they are named."""
    having = None if problem_ids is None else pc.field("problem_id").isin(list(problem_ids))
    return map(tree_from_row, read_shards(place, TREES, without=("generations",), having=having))


def read_trees(place: Path | str) -> list[SearchTree]:
    """As ``stream_trees``."""
    return list(stream_trees(place))


def stream_recorded_trees(place: Path | str) -> Iterator[SearchTree]:
    return map(tree_from_row, read_shards(place, TREES))


# --- where ----------------------------------------------------------------------------------------------------


def _chunks(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
