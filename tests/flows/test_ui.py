"""``make ui`` looks before it starts: a taken port or a bad one is one line that names it and the mend."""

from __future__ import annotations

import socket

import pytest

from flows.ui import main


def test_a_taken_port_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("RSTAR_MLFLOW_PORT", str(port))
        assert main() == 2
    assert (
        capsys.readouterr().err == f"error: port {port} is in use; choose another: make ui RSTAR_MLFLOW_PORT=<port>\n"
    )


@pytest.mark.parametrize("value", ["http", "0", "70000", "-1"])
def test_what_is_no_port_is_one_line(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RSTAR_PREFECT_PORT", value)
    assert main() == 2
    assert capsys.readouterr().err == f"error: RSTAR_PREFECT_PORT: must be a port number, not '{value}'\n"
