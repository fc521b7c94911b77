"""Where the panel listens and the address people are told."""

from __future__ import annotations

import errno
import os
import socket

from fogpanel.supervisor.problems import CannotStart

BACKLOG = 2048
EVERYWHERE = {"0.0.0.0", "::", ""}


def listen(host: str, port: int) -> socket.socket:
    """The panel's listening socket (port 0: a free one).

    The supervisor holds it for as long as it lives and lends it to the server: while that is being
    started again, browsers and agents wait for a moment instead of being refused.

    Raises:
        CannotStart: the port is taken, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(why_not(host, port, error)) from error
    return listener


def why_not(host: str, port: int, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"Port {port} needs more rights than this user has; choose one above 1023: --port 8000."
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine."
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use; stop what uses it, or choose another one: --port {port + 1}."
    return f"Cannot listen on {host} port {port}: {error.strerror}."


def public_url(host: str, port: int) -> str:
    """The address for people: FOGPANEL_URL where that is set, else where the panel listens."""
    if told := os.environ.get("FOGPANEL_URL", "").strip().rstrip("/"):
        return told
    shown = outward_address() if host in EVERYWHERE else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def local_url(host: str, port: int) -> str:
    """The address for programs on this machine."""
    if host in EVERYWHERE:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def outward_address() -> str:
    """This machine's address on its network; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
