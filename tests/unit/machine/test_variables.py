"""A variable without sense is one line, whichever it is, before anything runs; so is a name that must be a slip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rstar_core.errors import UserError
from rstar_core.machine import variables
from rstar_core.machine.variables import Variable, check
from tasks.__main__ import main

BY_PARSER: dict[Any, Variable[Any]] = {variable.parse: variable for variable in variables.ALL}
FREE = {str, Path, variables.flag, variables.listed}  # any text makes sense there
BAD = ["many", "-1", "1.5x", "'", "2 3", "\u0663", "1e3z", "https:/x'"]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in variables.ALL:
        monkeypatch.delenv(variable.name, raising=False)


@pytest.mark.parametrize("variable", variables.ALL, ids=lambda one: one.name)
def test_unset_and_empty_is_the_default(variable: Variable[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert variable.get() == variable.default
    monkeypatch.setenv(variable.name, "  ")
    assert variable.get() == variable.default


@pytest.mark.parametrize("variable", [one for one in variables.ALL if one.parse not in FREE], ids=lambda one: one.name)
def test_what_makes_no_sense_is_one_line(variable: Variable[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    refused = 0
    for text in BAD:
        monkeypatch.setenv(variable.name, text)
        try:
            check()
        except UserError as error:
            assert str(error).startswith(f"{variable.name}: must be ") and text in str(error)
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        (variables.SANDBOX_SERVERS, " 3 ", 3),
        (variables.MIN_FREE_MIB, "0", 0),
        (variables.CHECKPOINT_SECONDS, "0.5", 0.5),
        (variables.SANDBOX_ALLOW_WEAK, "1", True),
        (variables.SANDBOX_ALLOW_WEAK, "yes", False),
        (variables.VLLM_DEVICES, "0, 1,", ("0", "1")),
        (variables.VLLM_POLICY_URLS, "http://a:1/,https://b", ("http://a:1", "https://b")),
        (variables.VLLM_PPM_ARGS, "--x 'a b'", ("--x", "a b")),
        (variables.VLLM_PORT, "8000", 8000),
    ],
)
def test_text_becomes_its_kind(variable: Variable[Any], text: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable.name, text)
    assert variable.get() == value


def test_as_many_servers_as_processors() -> None:
    assert variables.SANDBOX_SERVERS.get() == os.cpu_count()


def test_a_slip_is_told_and_foreign_names_are_not_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RSTAR_SOMETHING_ELSE_ALTOGETHER", "1")
    check()
    monkeypatch.setenv("RSTAR_SANDBOX_SERVER", "2")
    monkeypatch.setattr("tasks.__main__.die_with_parent", lambda: None)
    assert main(["check"]) == 2
    said = "RSTAR_SANDBOX_SERVER: there is no such variable; did you mean RSTAR_SANDBOX_SERVERS?"
    assert capsys.readouterr().err == f"error: {said}\n"
