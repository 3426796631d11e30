"""A server that speaks enough of vLLM's API to be asked, and misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

MODEL = "artifacts/r1/policy"
Behaviour = Callable[[web.Request, Any], Awaitable[web.StreamResponse | None]]  # None: answer as usual


class FakeServer:
    """``behave`` may answer in its place. ``asked`` counts requests by path, ``prompts`` are those answered."""

    def __init__(self, behave: Behaviour | None = None, max_length: int = 100) -> None:
        self.behave = behave
        self.is_healthy = True
        self.asked: Counter[str] = Counter()
        self.prompts: list[Any] = []
        self._max_length = max_length
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._answer)
        app.router.add_post("/pooling", self._answer)
        self._server = TestServer(app)

    async def start(self) -> str:
        await self._server.start_server()
        return str(self._server.make_url("")).rstrip("/")

    async def stop(self) -> None:
        await self._server.close()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.is_healthy else 503)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": MODEL, "max_model_len": self._max_length}]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        body = await request.json()
        special = await self.behave(request, body) if self.behave else None
        if special is not None:
            return special
        self.prompts.append(body.get("prompt") or body.get("input"))
        return web.json_response(completions(body) if "prompt" in body else scores(body))


def completions(body: Any) -> Any:
    """``n`` of them in reversed order, each with the seed in its text."""
    choices = [
        {
            "index": index,
            "text": f"n = {body['seed'] + index}<end_of_step>",
            "token_ids": [index, 7],
            "logprobs": {"token_logprobs": [-0.5, -0.25]},
            "finish_reason": "stop",
        }
        for index in range(body["n"])
    ]
    return {"choices": choices[::-1]}


def scores(body: Any) -> Any:
    """Each text's length over 100, in reversed order."""
    rows = [{"index": index, "data": [len(text) / 100]} for index, text in enumerate(body["input"])]
    return {"data": rows[::-1]}


def failing(times: int, status: int = 500, message: str = "out of luck") -> Behaviour:
    """An error for the first so many requests."""
    left = iter(range(times))

    async def behave(request: web.Request, body: Any) -> web.StreamResponse | None:
        if next(left, None) is None:
            return None
        return web.json_response({"error": {"message": message}}, status=status)

    return behave


async def hanging(request: web.Request, body: Any) -> web.StreamResponse | None:
    await asyncio.sleep(60)
    return None


async def cut_off(request: web.Request, body: Any) -> web.StreamResponse | None:
    assert request.transport is not None
    request.transport.close()
    return None
