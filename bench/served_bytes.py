"""The far end of `bench onion`: an HTTP server on loopback that serves as many bytes as a path names.

Started as ``python -m bench.served_bytes``; it says when it is ready, answers ``port`` with the port it
listens on, and ends with its standard input. ``GET /1024`` gets the 1,024 bytes of ``content(1024)``.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from functools import cache
from random import Random

LOOPBACK = "127.0.0.1"


@cache
def content(size: int) -> bytes:
    """The same bytes for whoever asks, so that the other end knows what to expect; they do not compress."""
    return Random(size).randbytes(size)


class OneAnswer(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer one request as HTTP/1.0 does, after which the stream ends."""
        size = int(self.rfile.readline().split()[1].lstrip(b"/"))
        while self.rfile.readline().strip():
            pass
        body = content(size)
        self.request.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        self.request.sendall(body)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    with Server((LOOPBACK, 0), OneAnswer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(json.dumps("ready"), flush=True)
        for command in sys.stdin:
            assert command.strip() == "port", command
            print(json.dumps(server.server_address[1]), flush=True)


if __name__ == "__main__":
    main()
