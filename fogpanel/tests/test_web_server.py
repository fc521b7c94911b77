"""The web server as it is started, before an application that tells how much of a body it got."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fogpanel.supervisor.places import ROOT
from fogpanel.web_server import CUT_BYTES, MIB, MOST_BYTES

APPLICATION = """
async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})
"""
WAIT_S = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    folder = tmp_path_factory.mktemp("application")
    (folder / "telling.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "fogpanel.web_server", "--fd", str(listener.fileno()), "-v", "0"]
        process = subprocess.Popen(
            [*command, "telling:application"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"},
            pass_fds=[listener.fileno()],
        )
        try:
            yield listener.getsockname()[1], process.pid
        finally:
            process.kill()
            process.wait()


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // MIB):
        yield bytes(MIB)
    if size % MIB:
        yield bytes(size % MIB)


def post(port: int, size: int, *, path: str = "/", chunked: bool = True) -> tuple[int, str]:
    headers = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)) as connection:
        connection.request("POST", path, pieces(size), headers, encode_chunked=chunked)
        with connection.getresponse() as response:
            return response.status, response.read().decode()


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "of known length"])
def test_a_body_up_to_the_limit_is_handed_on_and_a_longer_one_is_not(
    server: tuple[int, int], chunked: bool
) -> None:
    port, pid = server
    for size in (0, 1, MIB, MOST_BYTES):
        assert post(port, size, chunked=chunked) == (200, str(size))
    before = peak_mib(pid)
    status, body = post(port, CUT_BYTES, chunked=chunked)
    assert status == 413 and "a request holds at most 32 MiB" in body
    assert peak_mib(pid) < before + MOST_BYTES / MIB
    assert post(port, 5, chunked=chunked) == (200, "5")


def test_the_api_says_so_as_it_says_everything(server: tuple[int, int]) -> None:
    status, body = post(server[0], MOST_BYTES + 1, path="/api/v1/tasks")
    told = json.loads(body)
    assert (status, told["status"], told["code"]) == (413, 413, "too-large")
    assert told["detail"] == "body: a request holds at most 32 MiB, this one more."


def test_a_body_without_end_is_cut(server: tuple[int, int]) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(server[0], 64 * CUT_BYTES)
    assert post(server[0], 5) == (200, "5")
