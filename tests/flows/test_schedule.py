"""When stages run, without any that runs."""

from __future__ import annotations

import pytest

from flows.graph import Stage
from flows.schedule import makespan, num_at_once, share_of_threads
from rstar_core.config import Engine

SECONDS = {"search": 40.0, "policy": 50.0, "ppm": 60.0, "evaluate": 30.0, "next": 40.0, "verify": 5.0}
ROUND = [
    ("search", ()),
    ("policy", ("search",)),
    ("ppm", ("search",)),
    ("evaluate", ("policy", "ppm")),
    ("next", ("policy",)),
    ("verify", ("next",)),
]


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 225.0), (2, 40.0 + 60.0 + 30.0 + 5.0), (3, 40.0 + 50.0 + 45.0)])
def test_a_stage_starts_when_what_it_needs_has_ended_and_there_is_room(at_once: int, seconds: float) -> None:
    stages = [Stage(name, "r1", 0, "", (), frozenset(needs)) for name, needs in ROUND]
    assert makespan(stages, at_once, SECONDS) == seconds


def test_what_is_needed_and_not_there_has_ended_before() -> None:
    assert makespan([Stage("verify", "r1", 0, "", (), frozenset({"next"}))], 2, SECONDS) == 5.0


@pytest.mark.parametrize(
    ("kind", "devices", "said", "number"),
    [("local", "", "", 2), ("scripted", "", "", 2), ("vllm", "", "", 1), ("local", "0", "", 1), ("local", "0", "3", 3)],
)
def test_there_is_room_for_two_where_none_takes_all(
    monkeypatch: pytest.MonkeyPatch, kind: str, devices: str, said: str, number: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    monkeypatch.setenv("RSTAR_STAGES", said)
    assert num_at_once(Engine.model_validate({"kind": kind, "dtype": "float32"})) == number


def test_threads_are_shared_out_unless_somebody_has_said_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert share_of_threads(1) == {}
    assert share_of_threads(2) == {"OMP_NUM_THREADS": "2"}
    assert share_of_threads(8) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert share_of_threads(2) == {}
