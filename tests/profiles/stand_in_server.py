"""In the place of ``python -m vllm.entrypoints.openai.api_server``: guesses for any model, by its command line.

It answers a prompt of text or of a policy's token ids with the guesses of ``engine.kind: scripted``, of which one in
four is right where a single operation is all there is.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from aiohttp import web

from rstar_core.cot.grammar import CODE, END_OF_OUTPUT, OUTPUT
from rstar_core.engines.scripted import arithmetic
from rstar_core.policy.model import load_tokenizer
from rstar_core.types import Question, Step, StepKind


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "host", "port"):
        parser.add_argument(f"--{name}", required=True)
    options, _ = parser.parse_known_args()
    app = web.Application()
    app.router.add_get("/health", lambda request: _reply({}))
    app.router.add_get("/v1/models", lambda request: _reply({"data": [{"id": options.model, "max_model_len": 4096}]}))
    app.router.add_post("/v1/completions", _Writer(options.model).answer)
    app.router.add_post("/pooling", _scores)
    web.run_app(app, host=options.host, port=int(options.port), print=None)


async def _reply(content: Any) -> web.Response:
    return web.json_response(content)


class _Writer:
    def __init__(self, model: str) -> None:
        self._tokenizer = load_tokenizer(model) if (Path(model) / "tokenizer.json").exists() else None

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt = body["prompt"]
        text = prompt if isinstance(prompt, str) else self._tokenizer.decode(prompt)  # type: ignore[union-attr]
        return web.json_response({"choices": [self._choice(text, body, index) for index in range(body["n"])]})

    def _choice(self, prompt: str, body: Any, index: int) -> Any:
        text = random.Random(body["seed"] + index).choice(guesses(prompt))
        ids = self._tokenizer.encode(text, add_special_tokens=False) if self._tokenizer else list(range(len(text) // 4))
        logprobs = {"token_logprobs": [-0.5] * len(ids)}
        return {"index": index, "text": text, "token_ids": ids, "logprobs": logprobs, "finish_reason": "stop"}


def guesses(prompt: str) -> list[str]:
    """Next steps for the last question of the prompt."""
    question, _, written = prompt.rpartition("Question: ")[2].partition(f"\n{CODE}\n")
    output = written.partition(OUTPUT)[2].partition(END_OF_OUTPUT)[0]
    prefix = [Step(StepKind.CODE_END, "", output)] if output else []
    return arithmetic(Question("", question), prefix)


async def _scores(request: web.Request) -> web.Response:
    body = await request.json()
    rows = [{"index": index, "data": [len(text) % 7 - 3]} for index, text in enumerate(body["input"])]
    return web.json_response({"data": rows})


if __name__ == "__main__":
    main()
