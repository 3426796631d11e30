"""What of a round is worth a look, as one HTML page without scripts; its problems link to the pages of their trees."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rstar_core.types import Problem

NUM_SHOWN = 20
_MAX_CHARS = 300

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --soft: #60656c; --line: #dfe2e6; }}
@media (prefers-color-scheme: dark) {{ :root {{ --soft: #9aa0a6; --line: #3a3f45; }} }}
body {{ font: 14px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 24px auto; padding: 0 16px; }}
h1 {{ font-size: 20px; }} h2 {{ font-size: 16px; margin: 28px 0 4px; }} p {{ margin: 0 0 8px; color: var(--soft); }}
table {{ border-collapse: collapse; width: 100%; }}
th {{ text-align: left; font-weight: 600; color: var(--soft); }}
th, td {{ padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; white-space: pre-line; }}
td:first-child {{ font-family: ui-monospace, monospace; white-space: nowrap; }}
</style>
</head>
<body>
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A table of problems: ``rows`` begin with the id of a problem, which ``problems`` has the text of."""

    title: str
    what: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def round_page(
    title: str,
    table: Sequence[Sequence[str]],
    sections: Sequence[Section],
    problems: Mapping[str, Problem],
    links: Mapping[str, str],
) -> str:
    """The page. ``table`` has a header, and may be empty; ``links`` are problems' tree pages."""
    parts = [_HEAD.format(title=_text(title)), f"<h1>{_text(title)}</h1>"]
    if table:
        header, *rows = table
        parts.append(_table(header, [list(map(_text, row)) for row in rows]))
    for section in sections:
        shown = section.rows[:NUM_SHOWN]
        parts += [
            f"<h2>{_text(section.title)}: {len(shown)} of {len(section.rows)}</h2>",
            f"<p>{_text(section.what)}</p>",
        ]
        if shown:
            parts.append(_table(["problem", *section.columns, "text"], [_cells(row, problems, links) for row in shown]))
    return "\n".join([*parts, "</body>\n</html>\n"])


def _cells(row: Sequence[object], problems: Mapping[str, Problem], links: Mapping[str, str]) -> list[str]:
    problem_id, *rest = row
    page = links.get(str(problem_id))
    name = f'<a href="{_text(page)}">{_text(problem_id)}</a>' if page else _text(problem_id)
    return [name, *map(_text, rest), _text(problems[str(problem_id)].text)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in header)
    lines = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    return "\n".join([f"<table>\n<tr>{head}</tr>", *lines, "</table>"])


def _text(value: Any) -> str:
    text = "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
    return html.escape(text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…")
