"""Tables that are written and read a few rows at a time."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rstar_core.errors import UserError
from rstar_core.io import (
    PROBLEMS,
    TRAJECTORIES,
    num_rows,
    read_table,
    stream_table,
    table_bytes,
    table_writer,
    write_table,
)
from rstar_core.types import Problem


def problems(number: int) -> list[Problem]:
    return [Problem(f"p{place}", f"What is {place}?", str(place), place % 3, "toy", "MIT") for place in range(number)]


def written(path: Path, number: int) -> Path:
    with table_writer(path, PROBLEMS) as add:
        for one in problems(number):
            add(one)
    return path


@pytest.mark.parametrize("number", [0, 1, 70])
def test_few_rows_are_the_bytes_of_a_table_written_at_once(number: int, tmp_path: Path) -> None:
    assert write_table(tmp_path / "by row", problems(number), PROBLEMS) == number
    assert (tmp_path / "by row").read_bytes() == table_bytes(list(map(asdict, problems(number))), PROBLEMS)


@pytest.mark.parametrize("number", [9, 10, 11, 20, 25])
def test_many_rows_come_back_in_their_order(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstar_core.io._ROWS_AT_ONCE", 10)
    monkeypatch.setattr("rstar_core.io._ROWS_READ", 4)
    path = written(tmp_path / "table", number)
    assert [Problem(**row) for row in stream_table(path, PROBLEMS)] == problems(number)
    assert list(stream_table(path, PROBLEMS)) == read_table(path, PROBLEMS)
    assert num_rows(path, PROBLEMS) == number
    assert pq.ParquetFile(path).num_row_groups == -(-number // 10)


def test_a_table_that_is_not_finished_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), table_writer(tmp_path / "table", PROBLEMS) as add:
        add(problems(1)[0])
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_read_is_one_line(tmp_path: Path) -> None:
    written(tmp_path / "table", 3)
    for read in (stream_table, num_rows):
        with pytest.raises(UserError, match=r"table: columns .* are expected"):
            list(read(tmp_path / "table", TRAJECTORIES))  # type: ignore[call-overload]
        with pytest.raises(UserError, match=r"gone: not found"):
            list(read(tmp_path / "gone", TRAJECTORIES))  # type: ignore[call-overload]
