"""``rstar serve``: what `rstar solve` answers, by OpenAI's chat endpoint; bounded, and for this machine only."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from flows import serve
from flows.guarded import Guard
from flows.serve import create_app, main
from rstar_core.config import load_params
from rstar_core.policy.tokenizer import train_tokenizer
from tasks.__main__ import main as tasks

ROOT = Path(__file__).parents[2]
QUESTIONS = [f"Ana has {number} coins and finds {number + 3}. How many now?" for number in range(2, 6)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A round that has run, with engine `scripted`: it calculates with the numbers of the question."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "infra/profiles/scripted.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for name in ("policy", "ppm"):
        (tmp_path / "artifacts/r1" / name).mkdir(parents=True)
    train_tokenizer(QUESTIONS, 300, 512).save_pretrained(tmp_path / "artifacts/r1/policy")
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(Guard(create_app("r1", load_params(), 60)), base_url="http://127.0.0.1:8600") as made:
        yield made


def ask(client: TestClient, text: str, model: str = "r1", **more: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0.7, **more}
    return client.post("/v1/chat/completions", json=body)


def test_it_answers_what_solve_answers(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["r1", "r1/greedy"]
    for text in QUESTIONS:
        assert tasks(["solve", text, "--round", "r1", "--json"]) == 0
        solved = {one["way"]: one for one in json.loads(capsys.readouterr().out)["methods"]}
        for model, way in (("r1", "system@2"), ("r1/greedy", "policy_pass@1")):
            told = ask(client, text, model).json()
            (choice,) = told["choices"]
            assert choice["message"]["content"] == f"\\boxed{{{solved[way]['answer']}}}"
            assert told["rstar"]["steps"] == solved[way]["steps"] and choice["finish_reason"] == "stop"
            usage = told["usage"]
            assert usage["completion_tokens"] == solved[way]["num_tokens"] > 0
            assert usage["total_tokens"] - usage["completion_tokens"] == usage["prompt_tokens"] > 0


def test_a_prompt_that_nobody_here_can_count_is_not_called_empty(folder: Path) -> None:
    (folder / "artifacts/r1/policy/tokenizer.json").unlink()
    with TestClient(Guard(create_app("r1", load_params(), 60)), base_url="http://127.0.0.1:8600") as client:
        assert ask(client, QUESTIONS[0]).json()["usage"] is None


def test_content_may_come_in_parts(client: TestClient) -> None:
    parts = [{"type": "text", "text": QUESTIONS[0][:9]}, {"type": "text", "text": QUESTIONS[0][9:]}]
    body = {"model": "r1", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]}
    told = client.post("/v1/chat/completions", json=body).json()
    assert told["choices"] == ask(client, QUESTIONS[0]).json()["choices"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"model": "gpt-9"}, 404, "model 'gpt-9' is not served; there are: r1, r1/greedy"),
        ({"stream": True}, 400, "stream: "),
        ({"n": 3}, 400, "n: "),
        ({"messages": []}, 400, "messages: "),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "no question"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, 400, "20001 characters; at most 20000"),
        ({"messages": [{"role": "user", "content": "x" * (1 << 20)}]}, 413, "more than 1048576 bytes"),
    ],
)
def test_what_is_no_question_is_one_line(client: TestClient, body: dict[str, Any], status: int, reason: str) -> None:
    whole = {"model": "r1", "messages": [{"role": "user", "content": "What is 1 + 1?"}], **body}
    told = client.post("/v1/chat/completions", json=whole)
    assert told.status_code == status and reason in told.json()["error"]["message"]


def test_pages_of_others_get_nothing(client: TestClient) -> None:
    text = json.dumps({"model": "r1", "messages": [{"role": "user", "content": "What is 1 + 1?"}]})
    plain = client.post("/v1/chat/completions", content=text, headers={"content-type": "text/plain"})
    assert plain.status_code == 415, "what a browser sends without asking"
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:5000"},
        {"host": "evil.example:8600"},
    ):
        assert client.get("/v1/models", headers=headers).status_code == 403
    asked_first = client.options("/v1/chat/completions", headers={"origin": "http://127.0.0.1:8600"})
    assert asked_first.status_code == 405 and "access-control-allow-origin" not in asked_first.headers


def test_a_question_has_a_time_and_few_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "NUM_WAITING", 2)
    statuses: list[int] = []
    with TestClient(Guard(create_app("r1", load_params(), 0.000001)), base_url="http://127.0.0.1:8600") as client:
        assert ask(client, QUESTIONS[0]).status_code == 504
    with TestClient(Guard(create_app("r1", load_params(), 60)), base_url="http://127.0.0.1:8600") as client:
        threads = [
            threading.Thread(target=lambda text=text: statuses.append(ask(client, text).status_code))
            for text in QUESTIONS * 4
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(statuses) == 16 and set(statuses) == {200, 429}


def test_a_mistake_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--round", "r7"]) == 2
    assert capsys.readouterr().err == "error: round 'r7' has no policy here; there are: r1\n"
