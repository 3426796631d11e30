"""Problems from a file: JSONL or CSV (plain or .gz) or Parquet, at a local path or an address such as ``s3://``.

Fields of a row:
    problem or question  the text
    answer               text or a number. GSM8K's raw form, a worked solution that ends in ``#### 18``, is taken apart
                         A list of texts is one answer, a list. Without it the answer is the box in the solution (MATH);
                         of a whole solution in its place the one box counts
    solution             optional, text
    level                optional, a whole number or "Level 3"; absent, null, "" or "Level ?" is 0
    license              optional, text
    id                   optional, text or a whole number: only checked for repeats; our own id is the text's hash
    tolerance or error   optional, text or a number: how far a right answer may be from ``answer``. ``error`` is
                         OlympiadBench's name; there several, one for each part of an answer, are ignored. Where there
                         is neither, the text may state a precision (answers/precision.py)
    expected_answer, generated_solution
                         OpenMathInstruct's names of answer and solution
    source, split, subject, type (MATH), equation (SVAMP, MultiArith), problem_source (OpenMathInstruct), answer_type,
    is_multiple_answer, unit (OlympiadBench), and an index without a name
                         known and ignored: source and split are what params.yaml says

A map of fields says what columns of other names hold: ``{problem: prompt}``. With one, columns that are neither mapped
nor known are ignored; without, they make a bad row, for a misspelt name must not go unseen. CSV has a header and is
UTF-8; there an empty cell is absent, and everything but ``level`` is text.

Null counts as absent. Text is kept as written but for CRLF and outer whitespace. Any other field, a wrong type, an id
seen before, NUL characters or broken text make a bad row, which is reported and left out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Never

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from rstar_core.answers.extract import BOXES, WORDS, extract_answer
from rstar_core.answers.precision import given_tolerance, stated_tolerance
from rstar_core.config import FileField
from rstar_core.errors import UserError
from rstar_core.problems.filters import Rejection, check_bad_fraction
from rstar_core.problems.identity import problem_id
from rstar_core.progress import Progress
from rstar_core.store.objects import is_address
from rstar_core.types import Problem

_READ = {"problem", "question", "answer", "solution", "level", "license", "id", "tolerance", "error"}
_IGNORED = {
    "source",
    "split",
    "subject",
    "equation",
    "answer_type",
    "is_multiple_answer",
    "unit",
    "type",
    "problem_source",
}
_ALIASES = {"expected_answer": "answer", "generated_solution": "solution"}  # OpenMathInstruct
_INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")  # that pandas writes without a name
_JUDGED = {"steps", "label"}  # ProcessBench: its answer is the number of the first wrong step
_NOT_GIVEN = {"NA", "na", "N/A", "n/a"}  # but Na is sodium
_NO_ANSWERS = {"none", "null", "nan", "notfound", "not found", "unknown", "proof", "?", "-"}
_FINAL = "####"
_LEVEL = re.compile(r"(?:Level )?(\d{1,9})", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_WORDS = 2  # around the box of an answer; a whole solution has more
_NO_HEADER = "a cell beyond the header"
_BOM = b"\xef\xbb\xbf"
_MAX_LINE_BYTES = 1 << 20
_MAX_SKIPPED_BYTES = 1 << 30  # of one line
_MAX_LEVEL = 2**31 - 1  # the published column has 32 bits


@dataclass(frozen=True, slots=True)
class Row:
    """A valid row; ``solution`` is empty if the row has none."""

    line: int
    problem: Problem
    solution: str


class _BadRow(Exception):
    """The row is refused; the text is the reason."""


def read_rows(
    path: str, source: str, max_bad_fraction: float, columns: Mapping[FileField, str] | None = None
) -> tuple[list[Row], list[Rejection]]:
    """All valid rows of a file, and the bad ones. ``columns`` maps our fields to the file's names.

    Raises:
        UserError: the file is missing, unreadable, empty or of an unknown kind, or too much of it is bad.
    """
    rows: list[Row] = []
    bad: list[Rejection] = []
    line_by_id: dict[str | int, int] = {}
    progress = Progress(path, None, "rows")
    for line, content in _contents(path):
        progress.advance()
        try:
            fields = _fields(content, columns or {})
            row = Row(line, _problem(fields, source), _solution(fields))
            _refuse_repeated_id(fields, line, line_by_id)
            rows.append(row)
        except _BadRow as error:
            bad.append(Rejection(path, line, str(error)))
    check_bad_fraction(path, len(rows), bad, max_bad_fraction)
    return rows, bad


# --- from bytes to fields -------------------------------------------------------------------------------------


def _contents(path: str) -> Iterator[tuple[int, Any]]:
    """Line numbers with what stands there: bytes, None for a line that is too long, or a Parquet row."""
    if path.endswith((".jsonl", ".jsonl.gz")):
        return _jsonl_lines(path)
    if path.endswith((".csv", ".csv.gz")):
        return _csv_rows(path)
    if path.endswith(".parquet"):
        return _parquet_rows(path)
    raise UserError(
        f"{path}: neither .jsonl, .csv (or .gz of them) nor .parquet; convert it and correct ingest.sources"
    )


def _jsonl_lines(path: str) -> Iterator[tuple[int, bytes | None]]:
    with _readable(path), fsspec.open(path, "rb", compression="infer") as handle:
        # A store's file has no readline with a limit.
        for line, content in enumerate(_lines(io.BufferedReader(handle)), start=1):
            if content is None or content.removeprefix(_BOM).strip():
                yield line, content


def _lines(handle: IO[bytes]) -> Iterator[bytes | None]:
    """Each line, or None in place of one that is longer than ``_MAX_LINE_BYTES``, which is never held whole."""
    while content := handle.readline(_MAX_LINE_BYTES):
        is_whole = piece_ends_line = _ends_line(content)
        num_skipped = 0
        while not piece_ends_line:
            piece_ends_line = _ends_line(handle.readline(_MAX_LINE_BYTES))
            num_skipped += _MAX_LINE_BYTES
            if num_skipped > _MAX_SKIPPED_BYTES:
                raise ValueError(f"a line has no end after {num_skipped} bytes")
        yield content if is_whole else None


def _ends_line(piece: bytes) -> bool:
    return piece.endswith(b"\n") or len(piece) < _MAX_LINE_BYTES


def _parquet_rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with _readable(path), fsspec.open(path, "rb") as handle:
        line = 0
        for batch in pq.ParquetFile(handle).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                line += 1
                yield line, row


def _csv_rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """By the line on which a row ends: a cell may hold line breaks."""
    with _readable(path), fsspec.open(path, "rt", compression="infer", encoding="utf-8-sig", newline="") as handle:
        rows = csv.DictReader(handle, restkey=_NO_HEADER, strict=True)
        repeated = [name for name, count in Counter(rows.fieldnames or ()).items() if name and count > 1]
        if repeated:
            raise ValueError(f"two columns are called {repeated[0]!r}")
        for row in rows:
            yield rows.line_num, {name: cell for name, cell in row.items() if cell not in ("", None)}


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Whatever keeps a file from being read becomes one line."""
    # s3fs lets these errors through as they are.
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    broken = (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException, ValueError, ImportError, BotoCoreError)
    try:
        _refuse_endless(path)
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: not found; fetch the file or correct ingest.sources") from None
    except broken as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({detail}); fetch the file again or correct ingest.sources") from None


def _refuse_endless(path: str) -> None:
    """A pipe would be waited for, and a device never ends."""
    if not is_address(path) and not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError("no regular file")


def _fields(content: Any, columns: Mapping[FileField, str]) -> dict[str, Any]:
    """The fields of a row that are present, all of them known."""
    fields = content if isinstance(content, dict) else _parse_json(content)
    if fields.keys() >= _JUDGED:
        raise _BadRow("a judged solution with 'steps' and 'label', no problem with its answer")
    if columns:
        fields = _mapped(fields, columns)
    fields = {_ALIASES.get(name, name): value for name, value in fields.items() if not _INDEX.fullmatch(name)}
    for name in fields:
        if name not in _READ | _IGNORED:
            hint = "" if name == _NO_HEADER else "; name the columns that you want by fields: in params.yaml"
            raise _BadRow(f"unknown field {_shown(name)}{hint}")
    return {name: value for name, value in fields.items() if value is not None}


def _mapped(fields: dict[str, Any], columns: Mapping[FileField, str]) -> dict[str, Any]:
    """The mapped columns under our names, and what is known of the others. A column is taken once."""
    missing = [column for column in columns.values() if column not in fields]
    if len(missing) == len(columns):
        raise _BadRow(f"no column {_shown(missing[0])}, which fields: names; there are {', '.join(map(str, fields))}")
    taken = {"question", "problem"} if "problem" in columns else set()
    others = _READ - columns.keys() - set(columns.values()) - taken
    known = {name: value for name, value in fields.items() if name in others}
    return {**known, **{field: fields.get(column) for field, column in columns.items()}}


def _parse_json(content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise _BadRow(f"longer than {_MAX_LINE_BYTES} bytes")
    try:
        text = content.removeprefix(_BOM).decode()
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except UnicodeDecodeError:
        raise _BadRow("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _BadRow(f"broken JSON: {error}") from None
    if not isinstance(value, dict):
        raise _BadRow("not a JSON object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = Counter(name for name, _ in pairs)
        raise _BadRow(f"two values for {_shown(names.most_common(1)[0][0])}")
    return fields


def _refuse_constant(name: str) -> Never:
    raise _BadRow(f"broken JSON: {name} is not a JSON number")


# --- from fields to problems ----------------------------------------------------------------------------------


def _problem(fields: dict[str, Any], source: str) -> Problem:
    names = [name for name in ("problem", "question") if name in fields]
    if len(names) == 2:
        raise _BadRow("both 'problem' and 'question'")
    text = _text(fields, names[0]) if names else ""
    if not text:
        raise _BadRow("no problem text")
    licence = _text(fields, "license") or "not stated"
    answer = _answer(fields)
    return Problem(problem_id(text), text, answer, _level(fields), source, licence, _tolerance(fields, text, answer))


def _answer(fields: dict[str, Any]) -> str:
    value = fields.get("answer", "")
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        value = fields["answer"] = ", ".join(value)  # OlympiadBench: one text for each part of the answer
    if "answer" not in fields and "solution" in fields:
        value = fields["answer"] = extract_answer(_text(fields, "solution")) or ""  # MATH: the box in the solution
    if isinstance(value, str):
        answer = _final_value(_text(fields, "answer"))
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _BadRow(f"answer: {_shown(value)} is neither text nor a finite number")
    else:
        answer = str(value)
    if not answer:
        raise _BadRow("no answer")
    if answer in _NOT_GIVEN or answer.casefold() in _NO_ANSWERS:
        raise _BadRow(f"answer: {_shown(answer)} is none")
    return answer


def _final_value(text: str) -> str:
    """What stands after GSM8K's mark, or in the one box of a whole solution."""
    if _FINAL in text:
        return text.rpartition(_FINAL)[2].strip()
    boxes = set(BOXES.findall(text))
    is_solution = len(boxes) == 1 and len(WORDS.findall(text)) > _MAX_WORDS
    return extract_answer(text) or text if is_solution else text


def _tolerance(fields: dict[str, Any], text: str, answer: str) -> str:
    """As a fraction; empty where neither the row nor the text states any."""
    value = fields.get("tolerance", fields.get("error", ""))
    given = given_tolerance(str(value))
    if "tolerance" in fields and (given is None or isinstance(value, bool)):
        raise _BadRow(f"tolerance: {_shown(value)} is no positive number")
    return str(given or stated_tolerance(text, answer) or "")


def _solution(fields: dict[str, Any]) -> str:
    """The ``solution`` field, or what stands before ``####`` in the answer."""
    answer = fields["answer"]
    worked = _text(fields, "answer").rpartition(_FINAL)[0].strip() if isinstance(answer, str) else ""
    return _text(fields, "solution") or worked


def _level(fields: dict[str, Any]) -> int:
    level = fields.get("level", "")
    if level == "" or level == "Level ?":
        return 0
    if isinstance(level, str) and (match := _LEVEL.fullmatch(level)):
        level = int(match[1])
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= _MAX_LEVEL:
        raise _BadRow(f"level: {_shown(level)} is not a whole number from 0")
    return level


def _text(fields: dict[str, Any], name: str) -> str:
    """A text field without outer whitespace and carriage returns; empty if absent."""
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise _BadRow(f"{name}: {_shown(value)} is not text")
    if "\0" in value:
        raise _BadRow(f"{name}: NUL character")
    if _SURROGATE.search(value):
        raise _BadRow(f"{name}: half of a surrogate pair")
    return value.replace("\r\n", "\n").strip()


def _refuse_repeated_id(fields: dict[str, Any], line: int, line_by_id: dict[str | int, int]) -> None:
    value = fields.get("id")
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _BadRow(f"id: {_shown(value)} is neither text nor a whole number")
    first = line_by_id.setdefault(value, line)
    if first != line:
        raise _BadRow(f"duplicate id {_shown(value)}, first at line {first}")


def _shown(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
