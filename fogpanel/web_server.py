"""Daphne as the panel runs it: what a request's body may hold is bounded while it comes.

Daphne hands a request on when all of it is there, and then the whole body as one queue of chunks. So limits
of views come too late to save memory: whoever sends a hundred megabytes, signed in or not, has them held.

    python -m fogpanel.web_server [the options of daphne] fogpanel.asgi:application
"""

from __future__ import annotations

import json
from typing import Any

from daphne.cli import CommandLineInterface
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server

MIB = 1024 * 1024
MOST_BYTES = 32 * MIB
"""More than any page or API takes (DATA_UPLOAD_MAX_MEMORY_SIZE, MAX_MODULE_BYTES and what is around them), so
that what is only a little too large is refused by those, who say it better."""
CUT_BYTES = 4 * MOST_BYTES
"""Of more than this the end is not waited for."""
SENTENCE = f"body: a request holds at most {MOST_BYTES // MIB} MiB, this one more."


class BoundedRequest(WebRequest):  # type: ignore[misc]  # has no types
    """Of a body that is too long the rest is read, or who sends it would not hear why, but not kept."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._came_bytes = 0

    def handleContentChunk(self, data: bytes) -> None:
        self._came_bytes += len(data)
        if self._came_bytes <= MOST_BYTES:
            super().handleContentChunk(data)
        elif self._came_bytes > CUT_BYTES:
            self.loseConnection()

    def process(self) -> Any:
        if self._came_bytes <= MOST_BYTES:
            return super().process()
        if self.path.startswith(b"/api/"):
            self._problem()
        else:
            self.basic_error(413, b"Content Too Large", SENTENCE)
        return None

    def _problem(self) -> None:
        """As `fogpanel.problems` answers, for which Django would have to have the request."""
        told = {"type": "about:blank", "title": "Content Too Large", "status": 413, "code": "too-large"}
        headers = [(b"Content-Type", b"application/problem+json")]
        self.handle_reply({"type": "http.response.start", "status": 413, "headers": headers})
        body = json.dumps({**told, "detail": SENTENCE}).encode()
        self.handle_reply({"type": "http.response.body", "body": body})


class BoundedFactory(HTTPFactory):  # type: ignore[misc]
    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = BoundedRequest
        return protocol


class PanelServer(Server):  # type: ignore[misc]
    http_factory: HTTPFactory

    def listen_success(self, port: Any) -> None:
        """Daphne makes its factory by name; ours takes its place before a first connection is accepted.

        Where Daphne is to do TLS itself, its own stays: another one is around it.
        """
        super().listen_success(port)
        if port.factory is self.http_factory:
            port.factory.doStop()
            port.factory = self.http_factory = BoundedFactory(self)
            port.factory.doStart()


class PanelCommandLine(CommandLineInterface):  # type: ignore[misc]
    server_class = PanelServer


if __name__ == "__main__":
    PanelCommandLine.entrypoint()
