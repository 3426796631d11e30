"""An OpenAI-compatible completions server with a stated service model in place of a language model.

``python -m benchmarks.simulated_server --slots 64 --token-ms 5 --prefill-rate 20000 --port 8000``. A sequence waits
for one of the slots, first come first served, and holds it for its prompt's tokens over the prefill rate and for its
own tokens times the time per token. What it says depends on the seed alone: steps, of a length with a heavy tail or
evenly within ``--step-tokens``, then a program's end, then an answer. ``/totals`` tells the seconds and tokens of all
sequences, and the longest of the problems' requests, one after another.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import random
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from aiohttp import web

from rstar_core.cot.grammar import END_OF_ANSWER, END_OF_CODE, END_OF_OUTPUT, END_OF_STEP

MODEL = "simulated"
_LONGEST = 512
_CHARACTERS_PER_TOKEN = 4


@dataclass
class Service:
    """``slots`` sequences at once; seconds for each token, and prompt tokens a second."""

    slots: int
    token_seconds: float
    prefill_rate: float
    levels: tuple[int, int]  # steps of a program, from and to
    step_tokens: tuple[int, int] | None  # from and to; None: a heavy tail
    busy_seconds: float = 0.0
    num_tokens: int = 0
    free_at: list[float] = field(default_factory=list)
    starts: deque[float] = field(default_factory=deque)  # of sequences that wait, in order
    # Seconds of the requests of each problem, one after another.
    chains: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        self.free_at = [0.0] * self.slots

    def finish(self, seconds: float) -> float:
        """When a sequence that arrives now and takes so long will be done."""
        started = max(time.monotonic(), self.free_at[0])
        heapq.heapreplace(self.free_at, started + seconds)
        self.starts.append(started)
        self.busy_seconds += seconds
        return started + seconds

    @property
    def num_waiting(self) -> int:
        """Sequences that have no slot yet."""
        while self.starts and self.starts[0] <= time.monotonic():
            self.starts.popleft()
        return len(self.starts)

    def continuation(self, prompt: str, seed: int) -> tuple[str, int]:
        """A step after ``prompt``, and its number of tokens."""
        rng = random.Random(seed)
        if self.step_tokens:
            num_tokens = rng.randint(*self.step_tokens)
        else:
            num_tokens = min(_LONGEST, 8 + int(rng.lognormvariate(3.0, 0.8)))
        if END_OF_OUTPUT in prompt:
            return f"<answer>\\boxed{{{rng.randrange(4)}}}{END_OF_ANSWER}", num_tokens
        depth = random.Random(prompt.partition("\n")[0]).randint(*self.levels)  # fixed by the problem
        is_last = prompt.count(END_OF_STEP) + 1 >= depth
        return f"n = {rng.randrange(10**6)}\n{END_OF_CODE if is_last else END_OF_STEP}", num_tokens


class App:
    def __init__(self, service: Service) -> None:
        self.service = service

    async def completions(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt, seed, service = body["prompt"], body["seed"], self.service
        prefill = len(prompt) / _CHARACTERS_PER_TOKEN / service.prefill_rate
        said = [service.continuation(prompt, seed + number) for number in range(body["n"])]
        seconds = [prefill + service.token_seconds * num_tokens for _, num_tokens in said]
        done = max(service.finish(each) for each in seconds)
        service.num_tokens += sum(num_tokens for _, num_tokens in said)
        service.chains[prompt.partition("\n")[0]] += max(seconds)
        await asyncio.sleep(done - time.monotonic())
        choices = [
            {"index": index, "text": text, "finish_reason": "stop", "token_ids": list(range(num_tokens))}
            for index, (text, num_tokens) in enumerate(said)
        ]
        return web.json_response({"choices": choices})

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": MODEL, "max_model_len": 10**9}]})

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=f'vllm:num_requests_waiting{{model_name="{MODEL}"}} {self.service.num_waiting}\n')

    async def totals(self, request: web.Request) -> web.Response:
        service = self.service
        chain = max(service.chains.values(), default=0.0)
        return web.json_response({"busy_s": service.busy_seconds, "chain_s": chain, "tokens": service.num_tokens})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--token-ms", type=float, required=True)
    parser.add_argument("--prefill-rate", type=float, default=20000.0)
    parser.add_argument("--levels", type=int, nargs=2, default=(1, 6))
    parser.add_argument("--step-tokens", type=int, nargs=2)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    step_tokens = tuple(given.step_tokens) if given.step_tokens else None
    app = App(Service(given.slots, given.token_ms / 1000, given.prefill_rate, tuple(given.levels), step_tokens))
    web_app = web.Application()
    web_app.router.add_post("/v1/completions", app.completions)
    for path in ("/v1/models", "/health", "/metrics", "/totals"):
        web_app.router.add_get(path, getattr(app, path.rpartition("/")[2]))
    web.run_app(web_app, host=given.host, port=given.port, print=None, access_log=None, backlog=4096)


if __name__ == "__main__":
    main()
