"""A round of a flow run: its run in MLflow is opened once, and linked to where a server shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from flows.graph import Stage
from flows.underway import Round, close, failing
from rstar_core.errors import UserError
from rstar_core.machine import variables

STAGES = [Stage(name, "r1", 0, "", ()) for name in ("search", "summary")]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was linked and closed."""
    told: list[Any] = []
    monkeypatch.setattr("flows.underway.create_link_artifact", lambda **fields: told.append(fields["link"]))
    monkeypatch.setattr("flows.underway.page_of", lambda run_id: f"#/experiments/1/runs/{run_id}")
    monkeypatch.setattr("flows.underway.open_round", opened)
    monkeypatch.setattr("flows.underway.close_round", lambda *how: told.append(how))
    return told


def opened(round_id: str, others: Iterable[str]) -> str | None:
    return None if round_id == "r9" else f"{round_id} beside {list(others)}"


def test_the_link_leads_to_the_rounds_run(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert Round("r1", STAGES).begin([]) == {variables.MLFLOW_RUN_ID.name: "r1 beside []"}
    assert made == [], "no server shows it"
    monkeypatch.setenv(variables.MLFLOW_URL.name, "http://127.0.0.1:5000")
    assert Round("r9", STAGES).begin([]) == {} and made == [], "tracking is away"
    Round("r1", STAGES).begin([])
    assert made == ["http://127.0.0.1:5000/#/experiments/1/runs/r1 beside []"]


def test_a_round_beside_another_leaves_its_run_alone_and_ends_with_its_last_stage(made: list[Any]) -> None:
    one, other = rounds = Round("r1", STAGES), Round("r2", STAGES)
    one.begin(rounds)
    assert other.begin(rounds)[variables.MLFLOW_RUN_ID.name] == "r2 beside ['r1 beside []']"
    assert one.begin(rounds) == {variables.MLFLOW_RUN_ID.name: "r1 beside []"}, "once"
    assert [one.end(STAGES[1], did_run=False), one.end(STAGES[0], did_run=True)] == [False, True] and one.did_run
    close(one, "FINISHED")
    with pytest.raises(UserError), failing(rounds):
        raise UserError("mend me")
    assert made == [("r1 beside []", "FINISHED"), ("r2 beside ['r1 beside []']", "FAILED")]
