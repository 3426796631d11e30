"""Requests over HTTP: what fails is asked again, what can't succeed is one line, and nothing is asked for nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rstar_core.engines.served import process as process_module
from rstar_core.engines.served import servers as servers_module
from rstar_core.engines.served.process import ServerProcess
from rstar_core.engines.served.servers import PromptTooLong, Replicas, Server
from rstar_core.errors import UserError
from rstar_core.machine.ports import free_port
from tests.unit.engines.fake_server import MODEL, Behaviour, FakeServer, cut_off, failing, hanging

BODY = {"model": MODEL, "prompt": [1], "n": 2, "seed": 5}


@asynccontextmanager
async def replicas(*fakes: FakeServer, silence: float = 60, patience: float = 5) -> AsyncIterator[Replicas]:
    urls = [await fake.start() for fake in fakes]
    made = Replicas([Server(f"fake {n}", MODEL, silence, url=url) for n, url in enumerate(urls)], patience)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        for fake in fakes:
            await fake.stop()


def run(*fakes: FakeServer, ask: Callable[[Replicas], Awaitable[Any]], **limits: float) -> Any:
    async def work() -> Any:
        async with replicas(*fakes, **limits) as made:
            return await ask(made)

    return asyncio.run(work())


async def once(made: Replicas, affinity: str = "q") -> list[str]:
    return await made.ask("/v1/completions", BODY, affinity, texts)


def texts(content: Any) -> list[str]:
    return [choice["text"] for choice in content["choices"]]


@pytest.mark.parametrize("behave", [failing(3), failing(3, 429)], ids=["500", "429"])
def test_a_server_at_fault_is_asked_again(behave: Behaviour) -> None:
    fake = FakeServer(behave)
    assert len(run(fake, ask=once)) == 2
    assert fake.asked["/v1/completions"] == 4
    assert len(fake.prompts) == 1


def test_many_requests_through_an_outage_are_answered_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeServer(failing(40))

    async def ask(made: Replicas) -> Any:
        return await asyncio.gather(*(once(made, str(number)) for number in range(30)))

    assert len(run(fake, ask=ask)) == len(fake.prompts) == 30
    assert capsys.readouterr().err.count("HTTP 500: out of luck; trying again") == 1, "one line"


def test_a_cut_connection_is_asked_again() -> None:
    calls = iter(range(9))

    async def behave(request: web.Request, body: Any) -> web.StreamResponse | None:
        return await cut_off(request, body) if next(calls) < 2 else None

    assert len(run(FakeServer(behave), ask=once)) == 2


def test_an_answer_that_is_none_is_asked_again() -> None:
    async def behave(request: web.Request, body: Any) -> web.StreamResponse | None:
        return web.json_response({"choices": [{}]}) if fake.asked["/v1/completions"] < 3 else None

    fake = FakeServer(behave)
    assert len(run(fake, ask=once)) == 2
    assert fake.asked["/v1/completions"] == 3


def test_after_the_patience_one_line_says_why() -> None:
    with pytest.raises(UserError, match=r"http://127.*: no answer for 1 s \(HTTP 500: out of luck\); what is finished"):
        run(FakeServer(failing(999)), ask=once, patience=1)


def test_a_hanging_server_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_module, "_HEALTH_SECONDS", 0.2)
    sick, well = FakeServer(hanging), FakeServer()

    async def ask(made: Replicas) -> Any:
        sick.is_healthy = False
        return await asyncio.gather(*(once(made, str(number)) for number in range(8)))

    assert len(run(sick, well, ask=ask, silence=0.4)) == 8
    assert sick.asked["/v1/completions"] > 0
    assert len(well.prompts) == 8


def test_a_slow_server_that_is_well_is_waited_for() -> None:
    async def behave(request: web.Request, body: Any) -> web.StreamResponse | None:
        await asyncio.sleep(0.8)
        return None

    fake = FakeServer(behave)
    run(fake, ask=once, silence=0.4)
    assert fake.asked["/v1/completions"] == 1


def test_a_wrong_request_is_not_asked_twice() -> None:
    fake = FakeServer(failing(9, 404, "The model `x` does not exist."))
    with pytest.raises(UserError, match=r"fake 0 at http://.*: The model `x` does not exist\."):
        run(fake, ask=once)
    assert fake.asked["/v1/completions"] == 1


def test_a_prompt_that_is_too_long_is_told_from_other_errors() -> None:
    with pytest.raises(PromptTooLong):
        run(FakeServer(failing(1, 400, "This model's maximum context length is 512 tokens.")), ask=once)


def test_what_serves_another_model_is_refused_at_the_start() -> None:
    async def work() -> None:
        fake = FakeServer()
        made = Replicas([Server("vllm policy", "artifacts/r2/policy", 60, url=await fake.start())], 5)
        try:
            await made.start()
        finally:
            await made.stop()
            await fake.stop()

    with pytest.raises(UserError, match=r"serves artifacts/r1/policy, not artifacts/r2/policy; start it with --served"):
        asyncio.run(work())


def test_nobody_there_is_one_line() -> None:
    async def work() -> None:
        made = Replicas([Server("vllm policy", MODEL, 60, url=f"http://127.0.0.1:{free_port()}")], 0.6)
        try:
            await made.start()
        finally:
            await made.stop()

    with pytest.raises(UserError, match=r"vllm policy: no answer from http://127.0.0.1:\d+/health in 1 s"):
        asyncio.run(work())


def test_one_affinity_is_one_server() -> None:
    """A problem's prompts share prefixes, which lie in the cache of one server."""
    fakes = [FakeServer() for _ in range(3)]

    async def ask(made: Replicas) -> None:
        for affinity in range(30):
            before = [len(fake.prompts) for fake in fakes]
            for _ in range(3):
                await once(made, f"problem {affinity}")
            grown = [len(fake.prompts) - old for fake, old in zip(fakes, before, strict=True)]
            assert sorted(grown) == [0, 0, 3]

    run(*fakes, ask=ask)
    assert all(fake.prompts for fake in fakes)


# --- our own processes ----------------------------------------------------------------------------------------

SERVE = "import http.server,sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[-1]))"


def child(code: str, port: int | None = None) -> ServerProcess:
    return ServerProcess("policy-0", [sys.executable, "-c", code], {}, port)


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "LOGS", tmp_path)


def started(server: ServerProcess, patience: float = 5) -> None:
    async def work() -> None:
        made = Replicas([Server("vllm policy 0", MODEL, 60, process=server)], patience)
        try:
            await made.start()
        finally:
            await made.stop()

    asyncio.run(work())


def test_a_server_that_ends_at_once_says_why() -> None:
    with pytest.raises(UserError, match=r"vllm policy 0 ended: ValueError: no such weights \(its log: .*policy-0\.log"):
        started(child("raise ValueError('no such weights')"))


def test_a_taken_port_is_one_line() -> None:
    async def work() -> None:
        fake = FakeServer()
        port = int((await fake.start()).rpartition(":")[2])
        try:
            await child(SERVE, port).start()
        finally:
            await fake.stop()

    with pytest.raises(UserError, match=r"port \d+ is taken, so policy-0 can't listen there; set RSTAR_VLLM_PORT"):
        asyncio.run(work())


def test_nothing_to_run_is_one_line() -> None:
    with pytest.raises(UserError, match=r"/no/python: can't be run; make vllm"):
        started(ServerProcess("policy-0", ["/no/python"], {}, None))


def test_a_server_ends_with_all_that_it_started() -> None:
    code = "import subprocess,sys,time; p=subprocess.Popen(['sleep','60']); print(p.pid, flush=True); time.sleep(60)"

    async def work() -> int:
        server = child(code)
        await server.start()
        while not server.log.read_text().strip():
            await asyncio.sleep(0.05)
        grandchild = int(server.log.read_text())
        await server.stop()
        return grandchild

    grandchild, deadline = asyncio.run(work()), time.monotonic() + 10
    while is_running(grandchild):  # a signal takes its time
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
