"""A small real HTTP server that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

HANG_UP = (0, None)
"""The answer of a server that is killed before it has answered."""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


Answer: TypeAlias = tuple[int, Any]


@dataclass
class Site:
    """``routes``: "METHOD /path" to an answer, a list of answers to give in turn, or a function."""

    routes: dict[str, Answer | list[Answer] | Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        route = self.routes.get(f"{asked.method} {asked.path}", problem(404, "There is no such page."))
        if isinstance(route, list):
            return route.pop(0)
        return route(asked) if callable(route) else route


def problem(status: int, detail: str, **more: object) -> Answer:
    return status, {"type": "about:blank", "title": "No", "status": status, "detail": detail, **more}


def shown(key: str) -> Answer:
    """How a panel shows its key, given in hexadecimal."""
    return 200, {"panel_key": base64.b64encode(bytes.fromhex(key)).decode()}


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = dict(parse_qsl(parts.query))
            body = json.loads(raw) if raw else None
            status, answer = site.answer(Asked(self.command, parts.path, query, headers, body))
            if not status:
                self.close_connection = True
                return
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = _handle

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
