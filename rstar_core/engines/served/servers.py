"""Requests to model servers over HTTP: spread over replicas, retried, and answered exactly once."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp

from rstar_core.engines.served.process import ServerProcess
from rstar_core.errors import UserError

Answer = TypeVar("Answer")

MAX_RESTARTS = 3  # of one server, without an answer in between
_REPORT_EVERY = 10.0  # seconds between lines about the same thing
_HEALTH_SECONDS = 5.0
_WAITING = re.compile(r"^vllm:num_requests_waiting\{.*\} (\S+)$", re.MULTILINE)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # between attempts


class ServerFailed(Exception):
    """The server could not answer this time; asking again may help."""


class PromptTooLong(Exception):
    """The server refused a prompt that its model has no room for."""


class Server:
    """One replica, which serves ``model``: ``process`` runs it here, or it runs elsewhere at ``url``."""

    def __init__(
        self, name: str, model: str, silence: float, *, url: str = "", process: ServerProcess | None = None
    ) -> None:
        self.url = url
        self.max_length = 0  # tokens of prompt and continuation
        self.num_waiting = 0  # requests in its queue
        self.process = process
        self._tasks: list[asyncio.Task[None]] = []
        self._is_open = False
        self._name = name
        self._model = model
        self._silence = silence
        self._num_restarts = 0
        self._num_in_flight = 0
        self._last_sign = 0.0
        self._is_hung = False
        self._said = -_REPORT_EVERY

    async def start(self, patience: float) -> None:
        """Return once it answers and is known to serve the model.

        Raises:
            UserError: it ended, did not answer in time, or serves something else.
        """
        self._session, self._is_open = _new_session(), True
        if self.process is not None:
            self.url = await self.process.start()
        await self._until_healthy(patience)
        self.max_length = await self._checked_model()
        self._tasks = [asyncio.create_task(work) for work in (self._watch(), self._count_waiting())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._is_open:
            await self._session.close()
        if self.process is not None:
            await self.process.stop()

    async def request(self, path: str, body: Any) -> Any:
        """The answer's JSON.

        Raises:
            ServerFailed: no answer, or one that says that the server is at fault.
            PromptTooLong: as it says.
            UserError: the server will never answer this request.
        """
        status, content = await self._exchange(path, body)
        if status == 200:
            self._num_restarts = 0
            return content
        message = _message(content)
        if status >= 500 or status in (408, 425, 429):
            raise ServerFailed(f"HTTP {status}: {message}")
        if "maximum context length" in message:
            raise PromptTooLong(message)
        raise UserError(f"{self._name} at {self.url}: {message}")

    async def _exchange(self, path: str, body: Any) -> tuple[int, Any]:
        if not self._num_in_flight:
            self._last_sign = time.monotonic()
        self._num_in_flight += 1
        try:
            async with self._session.post(self.url + path, json=body) as reply:
                content = await reply.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise ServerFailed(str(error) or type(error).__name__) from None
        finally:
            self._num_in_flight -= 1
        self._last_sign = time.monotonic()
        return reply.status, content

    async def revive(self, patience: float) -> None:
        """Return once it answers again; our own is restarted where it is dead or hung.

        Raises:
            UserError: our own can't be brought back.
        """
        if self.process is not None and (self._is_hung or self.process.exit_code is not None or await self._is_sick()):
            await self._restart(self.process)
        await self._until_healthy(patience)
        self._is_hung = False

    async def _restart(self, process: ServerProcess) -> None:
        self._num_restarts += 1
        if self._num_restarts > MAX_RESTARTS:
            raise UserError(f"{self._name}: ended {self._num_restarts} times in a row; its log is {process.log}")
        self.say(f"restarting it ({self._num_restarts} of {MAX_RESTARTS})", always=True)
        await process.stop()
        self.url = await process.start()

    async def _is_sick(self) -> bool:
        return not await self.is_healthy()

    async def is_healthy(self) -> bool:
        limit = aiohttp.ClientTimeout(total=_HEALTH_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(f"{self.url}/health") as reply,
            ):
                return reply.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _until_healthy(self, patience: float) -> None:
        started = reported = time.monotonic()
        while not await self.is_healthy():
            if self.process is not None and self.process.exit_code is not None:
                raise UserError(f"{self._name} ended: {self.process.complaint()} (its log: {self.process.log})")
            now = time.monotonic()
            if now - started > patience:
                raise UserError(f"{self._name}: no answer from {self.url}/health in {patience:.0f} s")
            if now - reported > _REPORT_EVERY:
                reported = now
                self.say(f"not up yet after {now - started:.0f} s", always=True)
            await asyncio.sleep(0.25)
        if time.monotonic() - started > 1:
            self.say(f"up at {self.url} after {time.monotonic() - started:.0f} s", always=True)

    async def _checked_model(self) -> int:
        """The context's length of the model that is served."""
        try:
            async with self._session.get(f"{self.url}/v1/models") as reply:
                models = {row["id"]: row for row in (await reply.json(content_type=None))["data"]}
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{self._name} at {self.url}: does not say which models it serves") from None
        if self._model not in models:
            names = ", ".join(sorted(models)) or "nothing"
            raise UserError(
                f"{self._name} at {self.url}: serves {names}, not {self._model}; start it with --served-model-name"
            )
        return int(models[self._model].get("max_model_len") or sys.maxsize)

    async def _count_waiting(self) -> None:
        """Once a second, how many requests vLLM has queued, where it says so."""
        while True:
            await asyncio.sleep(1)
            with suppress(aiohttp.ClientError, OSError, TimeoutError, RuntimeError):
                async with self._session.get(
                    f"{self.url}/metrics", timeout=aiohttp.ClientTimeout(total=_HEALTH_SECONDS)
                ) as reply:
                    found = _WAITING.findall(await reply.text())
                self.num_waiting = int(sum(map(float, found)))

    async def _watch(self) -> None:
        """Break off requests to a server that hangs: they are sent again, and it is looked after."""
        while True:
            await asyncio.sleep(self._silence / 4)
            quiet = time.monotonic() - self._last_sign
            if self._num_in_flight and quiet > self._silence and (quiet > 3 * self._silence or await self._is_sick()):
                self._is_hung = True
                old, self._session = self._session, _new_session()
                await old.close()

    def say(self, text: str, *, always: bool = False) -> None:
        """A line for the user, not too often."""
        now = time.monotonic()
        if not always and now - self._said < _REPORT_EVERY:
            return
        if not always:
            self._said = now
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)


class Replicas:
    """Servers of one model. Requests of one ``affinity`` go to the same server, so that it finds their prefixes."""

    def __init__(self, servers: Sequence[Server], patience: float) -> None:
        self.servers = servers
        self._patience = patience
        self._up: dict[Server, asyncio.Event] = {}
        self._lost: dict[Server, UserError] = {}
        self._revivals: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Return once all answer; the first error of any is raised."""
        await asyncio.gather(*(server.start(self._patience) for server in self.servers))
        self._up = {server: asyncio.Event() for server in self.servers}
        for event in self._up.values():
            event.set()

    async def stop(self) -> None:
        for task in self._revivals:
            task.cancel()
        await asyncio.gather(*(server.stop() for server in self.servers))

    @property
    def num_waiting(self) -> int:
        return sum(server.num_waiting for server in self.servers)

    @property
    def max_length(self) -> int:
        return min(server.max_length for server in self.servers)

    async def ask(self, path: str, body: Any, affinity: str, parse: Callable[[Any], Answer]) -> Answer:
        """What ``parse`` makes of the answer. Asked until there is one; ``parse`` fails on what is none.

        Raises:
            PromptTooLong: as it says.
            UserError: it will never be answered, or there was no answer for ``patience`` seconds.
        """
        deadline, pause, reason = None, _FIRST_PAUSE, "no server is up"
        while deadline is None or time.monotonic() < deadline:
            server = await self._available(affinity, deadline or time.monotonic() + self._patience, reason)
            try:
                return _parsed(parse, await server.request(path, body))
            except ServerFailed as failure:
                reason = str(failure)
                self._suspect(server, reason)
                deadline = deadline or time.monotonic() + self._patience
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        raise self._gave_up(reason)

    async def _available(self, affinity: str, deadline: float, reason: str) -> Server:
        """The first in this affinity's order that is up; where none is, whichever comes back first."""
        while len(self._lost) < len(self.servers):
            up = [server for server in self.servers if self._up[server].is_set()]
            if up:
                return max(up, key=lambda server: _rank(affinity, self.servers.index(server))) if up[1:] else up[0]
            waits = [asyncio.ensure_future(event.wait()) for event in self._up.values()]
            done, pending = await asyncio.wait(
                [*waits, *self._revivals],
                timeout=max(deadline - time.monotonic(), 0.01),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for wait in waits:
                wait.cancel()
            if not done and pending:
                raise self._gave_up(reason)
        raise next(iter(self._lost.values()))

    def _suspect(self, server: Server, reason: str) -> None:
        """Send nothing more to ``server`` before it has shown that it is well."""
        if self._up[server].is_set():
            self._up[server].clear()
            server.say(f"{reason}; trying again")
            task = asyncio.create_task(self._revive(server))
            self._revivals.add(task)
            task.add_done_callback(self._revivals.discard)

    async def _revive(self, server: Server) -> None:
        try:
            await server.revive(self._patience)
        except UserError as error:
            self._lost[server] = error
        else:
            self._up[server].set()

    def _gave_up(self, reason: str) -> UserError:
        places = ", ".join(server.url for server in self.servers)
        return UserError(f"{places}: no answer for {self._patience:.0f} s ({reason}); what is finished is kept")


def _parsed(parse: Callable[[Any], Answer], content: Any) -> Answer:
    try:
        return parse(content)
    except (LookupError, TypeError, ValueError) as error:
        raise ServerFailed(f"an answer that is none ({type(error).__name__}: {error})") from None


def _rank(affinity: str, number: int) -> bytes:
    """Rendezvous hashing: where a server is lost, only its own requests move."""
    return hashlib.blake2b(f"{affinity}/{number}".encode(), digest_size=8).digest()


def _message(content: Any) -> str:
    """The error's text, however the server wraps it."""
    with suppress(LookupError, TypeError):
        return " ".join(str(content["error"]["message"]).split())
    return " ".join(str(content).split())[:300]


def _new_session() -> aiohttp.ClientSession:
    """Without limits on connections or time: the server queues, and ``_watch`` looks after its silence."""
    limits = aiohttp.ClientTimeout(total=None, sock_connect=30)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limits)
