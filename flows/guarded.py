"""Prefect and MLflow for clients of this machine only: a page of another origin in its browser gets nothing.

Whoever reaches Prefect's API can have a worker run any command. Prefect by itself answers every origin and every Host
(so also a name that an attacker lets point to 127.0.0.1), and reads a body without a type as JSON, which a browser
sends without asking. So it has a password (``PREFECT_SERVER_API_AUTH_STRING``), and Host and Origin are looked at
first. MLflow by itself answers pages of every other port of this machine, so it stands behind the same guard.
Programs on other machines call the servers by the names of ``RSTAR_SERVER_NAMES``, if at all.
"""

from __future__ import annotations

import os
import secrets
from typing import Any
from urllib.parse import urlsplit

from rstar_core.machine.ports import HOST
from rstar_core.machine.variables import SERVER_NAMES

CLIENT_VARIABLE = "PREFECT_API_AUTH_STRING"
SERVER_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"


def password() -> str:
    """User and password for Prefect: those of ``PREFECT_API_AUTH_STRING``, or new ones."""
    return os.environ.get(CLIENT_VARIABLE) or f"rstar:{secrets.token_urlsafe(24)}"


def create_prefect() -> Any:
    """Prefect's ASGI application, for uvicorn's ``--factory``."""
    from prefect.server.api.server import create_app

    return Guard(create_app())


def create_mlflow() -> Any:
    """MLflow's, for ``mlflow server --app-name rstar`` (an entry point of this package)."""
    from mlflow.server.fastapi_app import app

    return Guard(app)


class Guard:
    """ASGI in front of ``app``: only our own names as Host, and as Origin, where there is one, our own address."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._names = {HOST, "localhost", *SERVER_NAMES.get()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or self._is_ours(dict(scope["headers"])):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"only for programs and pages of this machine\n"})

    def _is_ours(self, headers: dict[bytes, bytes]) -> bool:
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        return _name(f"//{host}") in self._names and (not origin or origin == f"http://{host}")


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
