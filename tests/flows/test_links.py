"""The flow run links to its round's page in MLflow."""

from __future__ import annotations

import pytest

from flows.rounds import link_tracking
from rstar_core.machine import variables


def test_the_link_leads_to_the_rounds_run(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, str]] = []
    monkeypatch.setattr("flows.rounds.create_link_artifact", lambda **fields: made.append(fields))
    monkeypatch.setattr("tasks.runner.tracking.page_of", lambda run_id: f"#/experiments/1/runs/{run_id}")
    link_tracking("r1", {variables.MLFLOW_RUN_ID.name: "abc"})
    assert made == [], "no server shows it"
    monkeypatch.setenv(variables.MLFLOW_URL.name, "http://127.0.0.1:5000")
    link_tracking("r1", {})
    assert made == [], "tracking is away"
    link_tracking("r1", {variables.MLFLOW_RUN_ID.name: "abc"})
    assert [fields["link"] for fields in made] == ["http://127.0.0.1:5000/#/experiments/1/runs/abc"]
