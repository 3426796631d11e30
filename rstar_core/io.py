"""Datasets in and out: Parquet with a fixed schema, published whole, validated on read, which may be from ``s3://``.

Rows are the frozen types of ``rstar_core.types``.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rstar_core.errors import UserError
from rstar_core.store.publishing import publish
from rstar_core.types import (
    LARGE,
    Candidate,
    Demonstration,
    Generation,
    LedgerEntry,
    Node,
    Prediction,
    PreferencePair,
    Problem,
    Question,
    SearchTree,
    SftExample,
    Step,
    StepKind,
    Terminal,
    Trajectory,
    TrueStates,
)

# --- schemas --------------------------------------------------------------------------------------------------

_TYPES: dict[Any, pa.DataType] = {str: pa.string(), bool: pa.bool_(), int: pa.int32(), float: pa.float64()}


def schema_of(record: type) -> pa.Schema:
    """The columns of a table whose rows are this dataclass: its fields, in their order."""
    return pa.schema(_columns(record))


def _columns(record: Any) -> list[tuple[str, pa.DataType]]:
    hints = get_type_hints(record)
    return [(one.name, pa.int64() if one.metadata.get(LARGE) else _type_of(hints[one.name])) for one in fields(record)]


def _type_of(hint: Any) -> pa.DataType:
    kinds = [one for one in get_args(hint) if one not in (NoneType, Ellipsis)]
    if get_origin(hint) is tuple:
        return pa.list_(_type_of(kinds[0]))
    if kinds:  # or None, which every column may hold
        return _type_of(kinds[0])
    if is_dataclass(hint):
        return pa.struct(_columns(hint))
    return pa.string() if issubclass(hint, StrEnum) else _TYPES[hint]


PROBLEMS = schema_of(Problem)
DEMONSTRATIONS = schema_of(Demonstration)
TRUE_STATES = schema_of(TrueStates)
TREES = schema_of(SearchTree)
TRAJECTORIES = schema_of(Trajectory)
SFT_EXAMPLES = schema_of(SftExample)
PAIRS = schema_of(PreferencePair)
PREDICTIONS = schema_of(Prediction)
LEDGER = schema_of(LedgerEntry)


# --- files ----------------------------------------------------------------------------------------------------

CURVE = ("step", "epoch", "loss", "learning_rate")


def write_curve(path: Path | str, rows: Sequence[Mapping[str, float]]) -> None:
    """Publish a training's loss curve as CSV; a training that did not happen has the header alone."""
    with publish(path, "w") as handle:
        writer = csv.DictWriter(handle, CURVE, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path | str, value: Any) -> None:
    """Publish ``value`` as readable JSON with sorted keys.

    Raises:
        UserError: it holds NaN or an infinity, which JSON does not have.
    """
    try:
        content = json_bytes(value)
    except ValueError:
        raise UserError(f"{path}: not written, for it would hold what is no number (NaN or infinite)") from None
    with publish(path) as handle:
        handle.write(content)


def write_lines(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """A JSON object a line, whole or not at all."""
    with publish(path, "w") as handle:
        handle.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def json_bytes(value: Any) -> bytes:
    return f"{json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)}\n".encode()


def read_json(path: Path | str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage that makes it (dvc repro)") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None


def write_table(path: Path | str, rows: Iterable[Any], schema: pa.Schema) -> int:
    """Publish dataclass rows (or dicts) as one Parquet file; returns how many."""
    number = 0
    with table_writer(path, schema) as add:
        for row in rows:
            add(row)
            number += 1
    return number


_ROWS_AT_ONCE = 1 << 14  # in memory, and in a row group


@contextmanager
def table_writer(path: Path | str, schema: pa.Schema) -> Iterator[Callable[[Any], None]]:
    """A function that adds a row (a dataclass or a dict) to a Parquet file, which is published when the block ends.

    No more rows are in memory than a row group has.
    """
    waiting: list[dict[str, Any]] = []
    with publish(path) as handle, pq.ParquetWriter(handle, schema, compression="zstd") as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        def add(row: Any) -> None:
            if len(waiting) == _ROWS_AT_ONCE:
                flush()
            waiting.append(row if isinstance(row, dict) else asdict(row))

        yield add
        flush()  # of no rows, too: then the file has none


def table_bytes(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    """``rows`` as a zstd Parquet file; the same rows are the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_table(path: Path | str, schema: pa.Schema, without: Sequence[str] = ()) -> list[dict[str, Any]]:
    """All rows of a Parquet file whose schema must be ``schema``; the columns ``without`` are not read.

    Raises:
        UserError: the file is missing, unreadable or has other columns.
    """
    with _opened(path) as handle:
        return table_rows(handle, str(path), schema, without)


def table_rows(
    source: Any, name: str, schema: pa.Schema, without: Sequence[str] = (), having: pc.Expression | None = None
) -> list[dict[str, Any]]:
    """``read_table`` of an open file or bytes in Arrow's hands, which errors call ``name``, or of rows ``having``."""
    wanted = pa.schema([field for field in schema if field.name not in without])
    table = _parquet(source, name, schema).read(columns=wanted.names).cast(wanted)
    rows: list[dict[str, Any]] = (table if having is None else table.filter(having)).to_pylist()
    return rows


def num_rows(path: Path | str, schema: pa.Schema) -> int:
    """Of a Parquet file, which is not read; see ``read_table``."""
    with _opened(path) as handle:
        return int(_parquet(handle, str(path), schema).metadata.num_rows)


def stream_table(path: Path | str, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """As ``read_table``, a few rows in memory at a time.

    Raises:
        UserError: as ``read_table``.
    """
    with _opened(path) as handle:
        for batch in _parquet(handle, str(path), schema).iter_batches(_ROWS_READ):
            yield from batch.cast(schema).to_pylist()


_ROWS_READ = 1024


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    try:
        with fsspec.open(str(path), "rb") as handle:
            yield handle
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage that makes it (dvc repro)") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {' '.join(str(error).split())}") from None


def _parquet(source: Any, name: str, schema: pa.Schema) -> pq.ParquetFile:
    file = pq.ParquetFile(source)
    if not file.schema_arrow.equals(schema):
        raise UserError(
            f"{name}: {_difference(file.schema_arrow, schema)}; it was made by other code, so make it again"
        )
    return file


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    if found.names != expected.names:
        return f"columns {found.names} where {expected.names} are expected"
    wrong = [field.name for field in expected if found.field(field.name).type != field.type]
    return f"column {', '.join(wrong)} holds something else than is expected"


def write_problems(path: Path | str, problems: Iterable[Problem]) -> int:
    return write_table(path, problems, PROBLEMS)


def read_problems(path: Path | str) -> list[Problem]:
    return [Problem(**row) for row in read_table(path, PROBLEMS)]


def write_demonstrations(path: Path | str, demonstrations: Iterable[Demonstration]) -> int:
    return write_table(path, demonstrations, DEMONSTRATIONS)


def read_demonstrations(path: Path | str) -> list[Demonstration]:
    rows = read_table(path, DEMONSTRATIONS)
    return [Demonstration(Problem(**row["problem"]), tuple(row["code_steps"])) for row in rows]


def row_from_tree(tree: SearchTree) -> dict[str, Any]:
    """``dataclasses.asdict`` of a tree, many times as fast: a search does this while others wait."""
    return {
        "problem_id": tree.problem_id,
        "round_id": tree.round_id,
        "tree_index": tree.tree_index,
        "nodes": [_row_from_node(node) for node in tree.nodes],
        "num_rollouts": tree.num_rollouts,
        "num_tokens": tree.num_tokens,
        "generations": [_row_from_generation(generation) for generation in tree.generations],
    }


def _row_from_node(node: Node) -> dict[str, Any]:
    step = node.step
    return {
        "parent": node.parent,
        "step": None if step is None else {"kind": step.kind.value, "body": step.body, "output": step.output},
        "initial_value": node.initial_value,
        "visit_count": node.visit_count,
        "value_sum": node.value_sum,
        "terminal": None if node.terminal is None else node.terminal.value,
        "answer": node.answer,
        "reward": node.reward,
        "num_samples": node.num_samples,
    }


def _row_from_generation(generation: Generation) -> dict[str, Any]:
    candidates = [
        {"text": one.text, "num_tokens": one.num_tokens, "token_ids": one.token_ids, "logprobs": one.logprobs}
        for one in generation.candidates
    ]
    return {"node": generation.node, "candidates": candidates, "scores": generation.scores}


def tree_from_row(row: dict[str, Any]) -> SearchTree:
    """The tree that ``row_from_tree`` turned into ``row``."""
    nodes = tuple(map(_node_from_row, row["nodes"]))
    generations = tuple(map(_generation_from_row, row.get("generations", ())))
    return SearchTree(**{**row, "nodes": nodes, "generations": generations})


def _generation_from_row(row: dict[str, Any]) -> Generation:
    candidates = (
        Candidate(**{**one, "token_ids": tuple(one["token_ids"]), "logprobs": tuple(one["logprobs"])})
        for one in row["candidates"]
    )
    return Generation(row["node"], tuple(candidates), tuple(row["scores"]))


def _node_from_row(row: dict[str, Any]) -> Node:
    step = None if row["step"] is None else steps_from_rows([row["step"]])[0]
    terminal = None if row["terminal"] is None else Terminal(row["terminal"])
    return Node(**{**row, "step": step, "terminal": terminal})


def write_sft_examples(path: Path | str, examples: Iterable[SftExample]) -> int:
    return write_table(path, examples, SFT_EXAMPLES)


def stream_sft_examples(path: Path | str) -> Iterator[SftExample]:
    for row in stream_table(path, SFT_EXAMPLES):
        yield SftExample(Question(**row["question"]), steps_from_rows(row["steps"]), row["origin"], row["mean_q"])


def read_sft_examples(path: Path | str) -> list[SftExample]:
    return list(stream_sft_examples(path))


def write_trajectories(path: Path | str, trajectories: Iterable[Trajectory]) -> int:
    return write_table(path, trajectories, TRAJECTORIES)


def stream_trajectories(path: Path | str) -> Iterator[Trajectory]:
    for row in stream_table(path, TRAJECTORIES):
        yield Trajectory(**{**row, "steps": steps_from_rows(row["steps"]), "step_q": tuple(row["step_q"])})


def read_trajectories(path: Path | str) -> list[Trajectory]:
    return list(stream_trajectories(path))


def write_predictions(path: Path | str, predictions: Iterable[Prediction]) -> int:
    return write_table(path, predictions, PREDICTIONS)


def read_predictions(path: Path | str) -> list[Prediction]:
    return [Prediction(**{**row, "scores": tuple(row["scores"])}) for row in read_table(path, PREDICTIONS)]


def write_true_states(path: Path | str, states: Iterable[TrueStates]) -> int:
    return write_table(path, states, TRUE_STATES)


def read_true_states(path: Path | str) -> dict[str, TrueStates]:
    """By problem id."""
    rows = (TrueStates(**{**row, "values": tuple(row["values"])}) for row in read_table(path, TRUE_STATES))
    return {states.problem_id: states for states in rows}


def write_pairs(path: Path | str, pairs: Iterable[PreferencePair]) -> int:
    return write_table(path, pairs, PAIRS)


def stream_pairs(path: Path | str) -> Iterator[PreferencePair]:
    columns = ("prefix", "chosen", "rejected")
    for row in stream_table(path, PAIRS):
        yield PreferencePair(**{**row, **{name: steps_from_rows(row[name]) for name in columns}})


def read_pairs(path: Path | str) -> list[PreferencePair]:
    return list(stream_pairs(path))


def steps_from_rows(rows: Iterable[dict[str, str]]) -> tuple[Step, ...]:
    return tuple(Step(StepKind(row["kind"]), row["body"], row["output"]) for row in rows)


def files_under(path: Path) -> list[Path]:
    """The file itself, or all files of a folder and of the folders in it, in sorted order."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def digest(path: Path | str) -> str:
    """sha256 of a file, or of a folder's relative names and files in sorted order."""
    root = Path(path)
    total = hashlib.sha256()
    for file in files_under(root):
        if file != root:
            total.update(file.relative_to(root).as_posix().encode() + b"\0")
        with file.open("rb") as handle:
            total.update(hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()
