"""Tables for a terminal of any width."""

from __future__ import annotations

from rstar_core.reports.markdown import aligned, fitted

TABLE = [["round", *(f"accuracy {number}" for number in range(12))], ["r0", *["78.0 %"] * 12], ["r1", *["–"] * 12]]


def test_a_table_that_is_too_wide_has_rows_for_columns() -> None:
    assert fitted(TABLE, 200) == aligned(TABLE)
    lines = fitted(TABLE, 80).splitlines()
    assert lines[0].split() == ["|", "round", "|", "r0", "|", "r1", "|"] and len(lines) == 2 + 12
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["|", "accuracy", "0", "|", "78.0", "%", "|", "–", "|"]
