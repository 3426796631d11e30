"""Tables for a terminal of any width."""

from __future__ import annotations

from rstar_core.reports.markdown import aligned, fitted

HEADER = ["round", *(f"accuracy {number}" for number in range(12))]
TABLE = aligned([HEADER, ["r0", *["78.0 %"] * 12], ["r1", *["–"] * 11, "a | b < c"]])
NARROW = aligned([["level", "r0"], ["5", "78.0 %"]])


def test_a_table_that_is_too_wide_has_rows_for_columns() -> None:
    text = f"# Rounds\n\n{TABLE}\n\n{NARROW}\n"
    assert fitted(text, 200) == text.strip()
    heading, table, other = fitted(text, 80).split("\n\n")
    assert (heading, other) == ("# Rounds", NARROW)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) == 2 + 12
    assert lines[0].split() == ["|", "round", "|", "r0", "|", "r1", "|"]
    assert lines[2].split() == ["|", "accuracy", "0", "|", "78.0", "%", "|", "–", "|"]
    assert lines[-1].endswith("| a \\| b &lt; c |"), "what was escaped is escaped once"
