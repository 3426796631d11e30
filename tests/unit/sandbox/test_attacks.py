"""The collection of hostile snippets: alone and in a tree, each is as expected and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rstar_core.sandbox.base import Outcome
from tests.unit.sandbox.aftermath import Arena, open_arena
from tests.unit.sandbox.shell import CASES

pytestmark = pytest.mark.slow  # test_hostile.py has the kinds, this the collection

# Code runs as a script, so the value of a last expression is never rendered: nothing happens.
INAPPLICABLE = {"hostile_repr": "a script does not print the value of its last line"}


def attacks() -> list[Any]:
    path = CASES / "attacks.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [pytest.param(case, id=case["name"], marks=marks(case)) for case in map(json.loads, lines)]


def marks(case: Any) -> list[pytest.MarkDecorator]:
    reason = INAPPLICABLE.get(case["name"])
    return [pytest.mark.xfail(reason=reason, strict=True)] if reason else []


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_TOKEN", "CANARY")
        with open_arena(tmp_path_factory.mktemp("arena") / "canary") as opened:
            yield opened


@pytest.mark.parametrize("case", attacks())
def test_attack(case: Any, arena: Arena) -> None:
    outcomes = arena.attack(case["code"])
    arena.assert_unharmed()
    for outcome in outcomes:
        assert_expected(case["expect"], outcome)
    assert not [path for path in map(Path, case["expect"].get("host_absent", ())) if path.exists()]


def assert_expected(expect: dict[str, Any], outcome: Outcome) -> None:
    assert outcome.status in expect["status"], outcome
    assert expect.get("out_has", "") in outcome.stdout
    assert expect.get("err_has", "") in outcome.error
    assert not [text for text in expect.get("out_lacks", ()) if text in outcome.stdout]
    assert len(outcome.stdout) <= expect.get("out_max", 70_000)
    assert len(outcome.error) <= expect.get("err_max", 5_000)
    assert outcome.seconds <= expect.get("max_s", 9)
