"""From the options of `fog run` to a task: what the panel needs in order to place it, and what runs.

Of a public task both make the body of POST /tasks, of a private one the second is sealed. The panel checks
the rules; we only read.
"""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path
from typing import NamedTuple

from fogagent.client.api import Json
from fogagent.client.errors import ClientError
from fogagent.client.options import DRIVERS

BY_SUFFIX = {".py": "python", ".wasm": "wasm"}
FIELDS = {
    "name": "name",
    "strategy": "strategy",
    "region": "region",
    "region_required": "region_required",
    "cores": "cores",
    "memory_mb": "memory_mb",
    "timeout": "timeout_s",
    "priority": "priority",
    "max_attempts": "max_attempts",
    "network": "network",
}
"""Option to field of the API. What is not given is left to the panel's defaults."""


class Content(NamedTuple):
    """What runs. ``args`` is the argv of a command or container."""

    payload: bytes
    args: list[str]
    image: str
    env: dict[str, str]
    stdin: bytes


def specification(args: argparse.Namespace) -> Json:
    """The public task that these options describe.

    Raises:
        ClientError: a file cannot be read, or the options leave open what is to run.
    """
    body = placement(args)
    body |= _in_the_open(read_content(args), body["driver"], args)
    if args.file and not args.name:
        body["name"] = Path(args.file).name
    return body


def placement(args: argparse.Namespace) -> Json:
    """What the panel is told of every task. Raises ClientError where the driver is left open."""
    given = vars(args)
    told: Json = {
        field: given[option]
        for option, field in FIELDS.items()
        if given[option] is not None and given[option] is not False
    }
    told["driver"] = _driver(args)
    if args.label:
        told["labels"] = dict(args.label)
    return told


def read_content(args: argparse.Namespace) -> Content:
    """Raises ClientError as `specification` does."""
    return Content(
        payload=_payload(args, _driver(args)),
        args=args.rest,
        image=args.image or "",
        env=dict(args.env),
        stdin=_stdin(args.stdin) if args.stdin else b"",
    )


def _in_the_open(content: Content, driver: str, args: argparse.Namespace) -> Json:
    body: Json = {"argv" if driver in ("command", "container") else "args": content.args}
    if driver == "wasm":
        body["module"] = base64.b64encode(content.payload).decode()
    if driver == "python":
        body["source"] = content.payload.decode()
    if content.image:
        body["image"] = content.image
    if content.env:
        body["env"] = content.env
    if args.stdin:
        body["stdin"] = _text(content.stdin, f"--stdin {args.stdin}")
    return body


def _driver(args: argparse.Namespace) -> str:
    if args.driver:
        return str(args.driver)
    if not args.file:
        raise ClientError("Say what to run: a file, or --driver command -- PROGRAM ARGS")
    driver = BY_SUFFIX.get(Path(args.file).suffix.lower())
    if driver is None:
        raise ClientError(f"{args.file}: neither .py nor .wasm; say --driver {' or '.join(DRIVERS)}.")
    return driver


def _payload(args: argparse.Namespace, driver: str) -> bytes:
    """The script or the module."""
    if driver in ("command", "container"):
        if args.file:
            raise ClientError(f"--driver {driver} takes no file: put the program and its arguments after --")
        return b""
    if not args.file:
        raise ClientError(f"--driver {driver} needs a file.")
    content = _read(args.file)
    if driver == "python":
        _text(content, args.file)
    return content


def _stdin(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else _read(path)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ClientError(f"{path}: cannot be read: {error.strerror}.") from error


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ClientError(f"{what}: must be UTF-8 text, is not from byte {error.start} on.") from error
