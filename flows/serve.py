"""``python -m flows.serve``: a round behind OpenAI's chat endpoint, on this machine, until Ctrl-C.

An evaluation harness or a chat page asks it as it would any model. The last message is the question; the answer comes
in a box, its steps and what each way of choosing says in the field ``rstar``. Pages of other origins get nothing
(``flows/guarded.py``); a question has bounds of length, time and company.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from flows.guarded import Guard
from rstar_core.config import Params, load_params
from rstar_core.engines.encoding import encoder
from rstar_core.errors import UserError
from rstar_core.evaluation.methods import GREEDY
from rstar_core.evaluation.solving import Found, Growing, Solver, answers, open_solver
from rstar_core.machine import variables
from rstar_core.machine.ports import HOST, is_free
from rstar_core.policy.model import load_tokenizer
from rstar_core.types import Question
from tasks.commands.parsers import positive
from tasks.commands.solve import MAX_CHARS, asked_for, round_called, steps_of
from tasks.runner.workspace import ARTIFACTS

PORT, SECONDS = 8600, 120
NUM_AT_ONCE, NUM_WAITING = 4, 32  # questions: at work, and in all before others are sent away
MAX_BYTES = 1 << 20


class Part(BaseModel):
    type: Literal["text"]
    text: str = Field(max_length=MAX_CHARS)


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class Asking(BaseModel):
    """What of a chat request means something here; other fields (sampling, limits of tokens) are params.yaml's."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=64)
    stream: Literal[False] = False
    n: Literal[1] | None = None


class Refused(Exception):
    """A request that is not answered, with its status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Served(NamedTuple):
    """The solver, by the name of a model the place of its method in ``Solver.methods``, and what counts a
    prompt's tokens."""

    solver: Solver
    models: dict[str, int]
    count_prompt: Callable[[Question], int | None]


def main(argv: Sequence[str] | None = None) -> int:
    given = parse(argv)
    try:
        variables.check()
        params = load_params()
        round_id = round_called(given.round)
        if not is_free(given.port):
            raise UserError(f"port {given.port} is in use; choose another: --port")
        evaluate = params.evaluate.model_copy(update={"num_trees": given.num_trees or params.evaluate.num_trees})
        app = create_app(round_id, params.model_copy(update={"evaluate": evaluate}), given.timeout)
        print(
            f"{round_id} at http://{HOST}:{given.port}/v1 (no key needed); Ctrl-C ends it", file=sys.stderr, flush=True
        )
        uvicorn.run(Guard(app), host=HOST, port=given.port, log_level="warning")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rstar serve", description="A round behind OpenAI's chat endpoint, here.")
    parser.add_argument("--round", default="best", metavar="ID", help="a round that has run (default: the best so far)")
    parser.add_argument("--num-trees", type=positive, metavar="N", help="System 2's (default: evaluate.num_trees)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    parser.add_argument(
        "--timeout", type=positive, default=SECONDS, help=f"seconds for a question (default: {SECONDS})"
    )
    return parser.parse_args(argv)


def create_app(round_id: str, params: Params, seconds: float) -> FastAPI:
    """The endpoints. The round is loaded when the server starts."""
    served: list[Served] = []
    slots, waiting = asyncio.Semaphore(NUM_AT_ONCE), [0]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_solver(ARTIFACTS / round_id, params) as solver:
            served.append(Served(solver, names(round_id, solver), prompt_counter(ARTIFACTS / round_id / "policy")))
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Refused)
    async def refuse(request: Request, refused: Refused) -> JSONResponse:
        error = {"message": str(refused), "type": "invalid_request_error", "param": None, "code": None}
        return JSONResponse({"error": error}, refused.status)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        made = [{"id": name, "object": "model", "created": 0, "owned_by": "rstar"} for name in served[0].models]
        return {"object": "list", "data": made}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> dict[str, Any]:
        asking = await asking_of(request)
        if waiting[0] >= NUM_WAITING:
            raise Refused(429, f"{NUM_WAITING} questions wait already; ask again later")
        waiting[0] += 1
        try:
            async with slots:
                return await asyncio.wait_for(completion(served[0], asking), seconds)
        except TimeoutError:
            raise Refused(504, f"no answer within {seconds:.0f} s; ask with fewer trees, or raise --timeout") from None
        finally:
            waiting[0] -= 1

    return app


def prompt_counter(folder: Path) -> Callable[[Question], int | None]:
    """Question -> the tokens of its prompt; None where the policy lies elsewhere, with its tokenizer."""
    if not (folder / "tokenizer.json").is_file():
        return lambda question: None
    encode = encoder(load_tokenizer(folder))
    return lambda question: len(encode(question, ()).ids)


def names(round_id: str, solver: Solver) -> dict[str, int]:
    """The whole system by the round's name, and the policy alone."""
    return {round_id: len(solver.methods) - 1, f"{round_id}/{GREEDY}": 0}


async def asking_of(request: Request) -> Asking:
    """The request's body, within its bounds.

    Raises:
        Refused: it is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "the body must be application/json")  # which a browser does not send without asking
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise Refused(413, f"more than {MAX_BYTES} bytes")
    try:
        return Asking.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None


async def completion(served: Served, asking: Asking) -> dict[str, Any]:
    """The question's answer as a chat completion."""
    if asking.model not in served.models:
        raise Refused(404, f"model '{asking.model}' is not served; there are: {', '.join(served.models)}")
    try:
        question: Question = asked_for(asking.messages[-1].text, None).question
    except UserError as error:
        raise Refused(400, str(error)) from None
    found = await served.solver.find(question, Growing(served.solver.methods[served.models[asking.model]]))
    return {
        "id": f"chatcmpl-{question.id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asking.model,
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message(found)}],
        "usage": usage(served.count_prompt(question), found.num_tokens),
        "rstar": details(found),
    }


def usage(num_read: int | None, num_written: int) -> dict[str, int] | None:
    """The question counts once, however many samples continue it; nothing where nobody here can count it."""
    if num_read is None:
        return None
    return {"prompt_tokens": num_read, "completion_tokens": num_written, "total_tokens": num_read + num_written}


def message(found: Found) -> dict[str, Any]:
    chosen = answers(found)[0].chosen
    text = f"\\boxed{{{chosen.answer}}}" if chosen and chosen.answer is not None else "No answer was found."
    return {"role": "assistant", "content": text, "refusal": None}


def details(found: Found) -> dict[str, Any]:
    """What a chat has no place for: the steps of the chosen solution with their scores, each way's answer, the cost."""
    ways = answers(found)
    chosen = ways[0].chosen
    return {
        "steps": steps_of(found.trees[chosen.tree_index], chosen.leaf) if chosen else [],
        "scores": list(chosen.scores) if chosen and found.method.name != GREEDY else [],
        "ways": [{"way": one.way, "answer": one.chosen and one.chosen.answer, "share": one.share} for one in ways],
        "num_trees": len(found.trees),
        "seconds": round(found.seconds, 3),
    }


if __name__ == "__main__":
    sys.exit(main())
