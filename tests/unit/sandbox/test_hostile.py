"""The project's own hostile snippets, each alone and as a step after another: contained, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rstar_core.sandbox.base import Status
from tests.unit.sandbox.aftermath import Arena, open_arena
from tests.unit.sandbox.hostile import SNIPPETS, Snippet


def snippets() -> list[Any]:
    return [pytest.param(snippet, id=snippet.name, marks=marks(snippet)) for snippet in SNIPPETS]


def marks(snippet: Snippet) -> list[pytest.MarkDecorator]:
    """Those that burn their whole limits."""
    return [pytest.mark.slow] if Status.TIMEOUT in snippet.statuses and Status.OK not in snippet.statuses else []


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with open_arena(tmp_path_factory.mktemp("arena") / "canary") as opened:
        yield opened


def test_names_are_distinct() -> None:
    assert len({snippet.name for snippet in SNIPPETS}) == len(SNIPPETS) >= 60


@pytest.mark.parametrize("snippet", snippets())
def test_it_is_contained(snippet: Snippet, arena: Arena) -> None:
    outcomes = arena.attack(snippet.code)
    arena.assert_unharmed()
    for outcome in outcomes:
        assert outcome.status in snippet.statuses, outcome
        assert "BREACH" not in outcome.stdout
        assert outcome.seconds < 9
