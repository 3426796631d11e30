"""Rows of files: what is read, what is refused and with which words."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rstar_core.errors import UserError
from rstar_core.problems import files
from rstar_core.problems.doubts import doubts
from rstar_core.problems.files import read_rows
from rstar_core.problems.identity import normalised, problem_id
from rstar_core.types import Problem

GOOD: dict[str, Any] = {"problem": "What is 1 + 1?", "answer": "2"}


def write_lines(path: Path, lines: Iterable[bytes]) -> str:
    path.write_bytes(b"\n".join(lines))
    return str(path)


def write_rows(path: Path, *rows: Any) -> str:
    return write_lines(path, (json.dumps(row).encode() for row in rows))


def read_one(tmp_path: Path, **fields: Any) -> files.Row:
    (row,), bad = read_rows(write_rows(tmp_path / "rows.jsonl", {**GOOD, **fields}), "here", 0.0)
    assert bad == []
    return row


def reason_of_line(tmp_path: Path, line: bytes) -> str:
    good = json.dumps(GOOD).encode()
    rows, bad = read_rows(write_lines(tmp_path / "rows.jsonl", [good, line]), "here", 0.5)
    assert [row.line for row in rows] == [1]
    assert [(one.file, one.line) for one in bad] == [(str(tmp_path / "rows.jsonl"), 2)]
    assert bad[0].reason.isascii() and "\n" not in bad[0].reason
    return bad[0].reason


def reason_of(tmp_path: Path, **fields: Any) -> str:
    present = {name: value for name, value in {**GOOD, **fields}.items() if value is not ...}
    return reason_of_line(tmp_path, json.dumps(present).encode())


def test_a_row_becomes_a_problem_with_a_content_hash(tmp_path: Path) -> None:
    row = read_one(tmp_path, id="up/1", level=3, license="MIT", solution="1 + 1 = 2", source="there", split="test")
    assert row.problem == Problem(problem_id("What is 1 + 1?"), "What is 1 + 1?", "2", 3, "here", "MIT")
    assert (row.line, row.solution) == (1, "1 + 1 = 2")


def test_optional_fields_may_be_absent_null_or_empty(tmp_path: Path) -> None:
    assert read_one(tmp_path).problem == read_one(tmp_path, level=None, license=None, id=None, solution=None).problem
    problem = read_one(tmp_path, level="", license="").problem
    assert (problem.level, problem.license) == (0, "not stated")


@pytest.mark.parametrize(("answer", "text"), [(18, "18"), (2.5, "2.5"), (" 7 ", "7"), ("1,200", "1,200"), (0, "0")])
def test_answers_may_be_text_or_numbers(tmp_path: Path, answer: Any, text: str) -> None:
    assert read_one(tmp_path, answer=answer).problem.answer == text


def test_raw_gsm8k_answers_are_taken_apart(tmp_path: Path) -> None:
    raw = {"question": "How many?", "answer": "He has 9*2 = <<9*2=18>>18.\n#### 18"}
    (row,), _ = read_rows(write_rows(tmp_path / "raw.jsonl", raw), "gsm8k", 0.0)
    assert (row.problem.text, row.problem.answer, row.solution) == ("How many?", "18", "He has 9*2 = <<9*2=18>>18.")


def test_known_upstream_fields_are_ignored(tmp_path: Path) -> None:
    upstream = {"equation": "X=1", "answer_type": "N", "is_multiple_answer": False, "unit": None, "error": None}
    assert read_one(tmp_path, subject="", **upstream).problem.answer == "2"


def test_carriage_returns_blank_lines_and_a_byte_order_mark_are_no_content(tmp_path: Path) -> None:
    row = json.dumps({**GOOD, "problem": " a\r\nb "}).encode()
    path = write_lines(tmp_path / "dos.jsonl", [b"\xef\xbb\xbf" + row + b"\r", b"\r", b"", json.dumps(GOOD).encode()])
    rows, bad = read_rows(path, "here", 0.0)
    assert [(row.line, row.problem.text) for row in rows] == [(1, "a\nb"), (4, "What is 1 + 1?")]
    assert bad == []


NAMED = "; name the columns that you want by fields: in params.yaml"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answr": "2"}, "unknown field 'answr'" + NAMED),
        ({"steps\nx": 1}, "unknown field 'steps\\nx'" + NAMED),
        ({"problem": ...}, "no problem text"),
        ({"problem": "  "}, "no problem text"),
        ({"problem": 7}, "problem: 7 is not text"),
        ({"problem": "a\0b"}, "problem: NUL character"),
        ({"problem": "a\ud800b"}, "problem: half of a surrogate pair"),
        ({"question": "What?"}, "both 'problem' and 'question'"),
        ({"answer": ...}, "no answer"),
        ({"answer": None}, "no answer"),
        ({"answer": " "}, "no answer"),
        ({"answer": "so it is #### "}, "no answer"),
        ({"answer": [2]}, "answer: [2] is neither text nor a finite number"),
        ({"answer": True}, "answer: True is neither text nor a finite number"),
        ({"level": "hard"}, "level: 'hard' is not a whole number from 0"),
        ({"level": 2.5}, "level: 2.5 is not a whole number from 0"),
        ({"level": True}, "level: True is not a whole number from 0"),
        ({"level": -1}, "level: -1 is not a whole number from 0"),
        ({"level": 2**31}, "level: 2147483648 is not a whole number from 0"),
        ({"license": 3}, "license: 3 is not text"),
        ({"solution": ["a"]}, "solution: ['a'] is not text"),
        ({"id": 1.5}, "id: 1.5 is neither text nor a whole number"),
    ],
)
def test_bad_fields(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    assert reason_of(tmp_path, **fields) == reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"problem": "a", "answer": NaN}', "broken JSON: NaN is not a JSON number"),
        (b'{"problem": "a", "answer": -Infinity}', "broken JSON: -Infinity is not a JSON number"),
        (b'{"problem": "a", "answer": 1e999}', "answer: inf is neither text nor a finite number"),
        (b'["a", "b"]', "not a JSON object"),
        (b'{"problem": "\xff", "answer": "1"}', "not UTF-8"),
        (b'{"problem": "' + b"a" * (1 << 20) + b'", "answer": "1"}', "longer than 1048576 bytes"),
    ],
)
def test_bad_lines(tmp_path: Path, line: bytes, reason: str) -> None:
    assert reason_of_line(tmp_path, line) == reason


@pytest.mark.parametrize("line", [b'{"problem": "a"', b"\0\0\0", b"[" * 100_000, b'{"answer": ' + b"9" * 5000 + b"}"])
def test_broken_json(tmp_path: Path, line: bytes) -> None:
    assert reason_of_line(tmp_path, line).startswith("broken JSON: ")


def test_rows_after_a_too_long_line_keep_their_numbers(tmp_path: Path) -> None:
    good = json.dumps(GOOD).encode()
    rows, bad = read_rows(write_lines(tmp_path / "long.jsonl", [b"x" * (3 << 20), good, b"y" * (1 << 20)]), "here", 1.0)
    assert [row.line for row in rows] == [2]
    assert [one.line for one in bad] == [1, 3]


def test_a_repeated_upstream_id_is_refused(tmp_path: Path) -> None:
    rows = [{**GOOD, "id": "a"}, {**GOOD, "id": "b"}, {"problem": "other", "answer": "1", "id": "a"}]
    _, bad = read_rows(write_rows(tmp_path / "ids.jsonl", *rows), "here", 0.5)
    assert [str(one) for one in bad] == [f"{tmp_path / 'ids.jsonl'}:3: duplicate id 'a', first at line 1"]


def test_too_many_bad_rows_are_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "bad.jsonl", GOOD, {"problem": "a"}, {"problem": "b"})
    with pytest.raises(UserError, match=r"2 of 3 rows are bad.*the first is line 2: no answer"):
        read_rows(path, "here", 0.5)


# --- containers -----------------------------------------------------------------------------------------------


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    rows, _ = read_rows(str(path), "here", 0.0)
    assert [row.problem.answer for row in rows] == ["2"]


def test_parquet_rows_are_numbered_from_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    columns = {"problem": ["a", "b", "c"], "answer": [1.5, float("nan"), 2.0], "level": [3, None, 4]}
    pq.write_table(pa.table(columns), path)
    rows, bad = read_rows(str(path), "here", 0.5)
    assert [(row.line, row.problem.answer, row.problem.level) for row in rows] == [(1, "1.5", 3), (3, "2.0", 4)]
    assert [str(one) for one in bad] == [f"{path}:2: answer: nan is neither text nor a finite number"]


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.parquet"])
def test_addresses_of_object_stores(name: str, tmp_path: Path) -> None:
    local = tmp_path / name
    if name.endswith(".gz"):
        local.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    else:
        pq.write_table(pa.table({key: [value] for key, value in GOOD.items()}), local)
    with fsspec.open(f"memory://bucket/{name}", "wb") as handle:
        handle.write(local.read_bytes())
    rows, _ = read_rows(f"memory://bucket/{name}", "here", 0.0)
    assert [row.problem.answer for row in rows] == ["2"]


@pytest.mark.parametrize("address", ["nowhere/rows.jsonl", "nowhere/rows.parquet", "memory://nowhere/rows.jsonl.gz"])
def test_a_missing_file_is_one_line(address: str) -> None:
    with pytest.raises(UserError) as error:
        read_rows(address, "here", 0.0)
    assert str(error.value) == f"{address}: not found; fetch the file or correct ingest.sources"


def test_an_unknown_kind_of_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.txt: neither \.jsonl, \.csv \(or \.gz of them\) nor \.parquet"):
        read_rows(str(tmp_path / "rows.txt"), "here", 0.0)


def broken_containers() -> dict[str, bytes]:
    packed = gzip.compress(json.dumps([str(n) for n in range(1000)]).encode())
    return {
        "cut.jsonl.gz": packed[:-20],
        "flipped.jsonl.gz": packed[:60] + bytes(byte ^ 0xFF for byte in packed[60:90]) + packed[90:],
        "plain.jsonl.gz": b'{"problem": "a"}',
        "plain.parquet": b"not Parquet at all",
        "empty.parquet": b"",
    }


@pytest.mark.parametrize("name", broken_containers())
def test_a_broken_container_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(broken_containers()[name])
    with pytest.raises(UserError, match=r"cannot be read \(.+\); fetch the file again") as error:
        read_rows(str(tmp_path / name), "here", 1.0)
    assert "\n" not in str(error.value)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no rows"):
        read_rows(write_lines(tmp_path / "empty.jsonl", []), "here", 1.0)


def test_missing_credentials_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped]

    def refuse(*args: object, **kwargs: object) -> None:
        raise NoCredentialsError

    monkeypatch.setattr(fsspec, "open", refuse)
    with pytest.raises(UserError, match=r"s3://bucket/a\.jsonl: cannot be read \(Unable to locate credentials\)"):
        read_rows("s3://bucket/a.jsonl", "here", 0.0)


# --- CSV and other names --------------------------------------------------------------------------------------


def test_csv_cells_are_text_but_for_the_level_and_may_hold_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffproblem,answer,level\r\n"One, or\ntwo?",073,2\r\nThree?,,1\r\nFour?,4,\r\n'.encode())
    rows, bad = read_rows(str(path), "mine", 0.5)
    assert [(row.problem.text, row.problem.answer, row.problem.level) for row in rows] == [
        ("One, or\ntwo?", "073", 2),
        ("Four?", "4", 0),
    ]
    assert [(one.line, one.reason) for one in bad] == [(4, "no answer")]


def test_a_csv_row_with_more_cells_than_the_header_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("problem,answer\nOne?,1\nTwo?,2,3\n")
    rows, (bad,) = read_rows(str(path), "mine", 0.5)
    assert len(rows) == 1 and bad.reason == "unknown field 'a cell beyond the header'"


def test_a_map_of_fields_renames_columns_and_ignores_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "One?", "final": "1", "level": 3, "answer": "not this", "notes": "x"}\n')
    ((row,), bad) = read_rows(str(path), "mine", 0.0, {"problem": "prompt", "answer": "final"})
    assert (row.problem.text, row.problem.answer, row.problem.level, bad) == ("One?", "1", 3, [])


def test_raw_layouts_of_math_and_openmathinstruct_are_read(tmp_path: Path) -> None:
    rows = [
        {"problem": "One?", "level": "Level 4", "type": "Algebra", "solution": r"So it is $\boxed{7}$."},
        {"problem": "Two?", "level": "Level ?", "type": "Algebra", "solution": "Nothing is boxed."},
        {"problem": "Three?", "expected_answer": "12", "generated_solution": "...", "problem_source": "math"},
        {"question": "Four?", "answer": ["3", "4"], "is_multiple_answer": True, "": 0, "Unnamed: 0": 1},
        {"problem": "Five?", "answer": r"First we add, then we double, so $\boxed{18}$ is left."},
    ]
    path = write_lines(tmp_path / "a.jsonl", [json.dumps(row).encode() for row in rows])
    read, bad = read_rows(path, "here", 0.5)
    assert [(one.problem.answer, one.problem.level) for one in read] == [("7", 4), ("12", 0), ("3, 4", 0), ("18", 0)]
    assert [(one.line, one.reason) for one in bad] == [(2, "no answer")]


def test_repeated_names_are_refused(tmp_path: Path) -> None:
    line = b'{"problem": "One?", "answer": "1", "answer": "2"}'
    rows, bad = read_rows(write_lines(tmp_path / "a.jsonl", [line]), "here", 1.0)
    assert not rows and bad[0].reason == "two values for 'answer'"
    table = write_lines(tmp_path / "a.csv", [b"problem,answer,answer", b"One?,1,2"])
    with pytest.raises(UserError, match="two columns are called 'answer'"):
        read_rows(table, "here", 1.0)


def test_a_map_that_names_no_column_says_which_there_are(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [b'{"prompt": "One?", "key": "1"}'])
    _, bad = read_rows(path, "here", 1.0, {"problem": "text", "answer": "truth"})
    assert bad[0].reason == "no column 'text', which fields: names; there are prompt, key"
    rows, _ = read_rows(path, "here", 1.0, {"problem": "prompt", "answer": "key"})
    assert rows[0].problem.answer == "1"


@pytest.mark.parametrize("name", ["pipe.jsonl", "zero.jsonl"])
def test_what_never_ends_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="no regular file"):
        read_rows(str(tmp_path / name), "here", 1.0)


@pytest.mark.timeout(60)
def test_a_text_of_a_megabyte_comes_to_an_end(tmp_path: Path) -> None:
    row = json.dumps({"problem": "9" * 400_000, "answer": "9" * 400_000, "solution": "<<" + "9" * 100_000}).encode()
    (one,), _ = read_rows(write_lines(tmp_path / "a.jsonl", [row]), "here", 1.0)
    assert "hardly a text" in doubts(one.problem.text, one.problem.answer, one.solution)
    assert normalised(one.problem.text) == one.problem.text
