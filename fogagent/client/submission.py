"""From the options of `fog run` to the body of POST /tasks. The panel checks the rules; we only read."""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path

from fogagent.client.api import Json
from fogagent.client.errors import ClientError
from fogagent.client.options import DRIVERS

BY_SUFFIX = {".py": "python", ".wasm": "wasm"}
OPTIONS = {
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
    "image": "image",
}
"""Option to field of the API. What is not given is left to the panel's defaults."""


def specification(args: argparse.Namespace) -> Json:
    """The task that these options describe.

    Raises:
        ClientError: a file cannot be read, or the options leave open what is to run.
    """
    given = vars(args)
    body: Json = {
        field: given[option]
        for option, field in OPTIONS.items()
        if given[option] is not None and given[option] is not False
    }
    body["driver"] = driver = _driver(args)
    body |= _content(args, driver)
    if args.env:
        body["env"] = dict(args.env)
    if args.label:
        body["labels"] = dict(args.label)
    if args.stdin:
        body["stdin"] = _stdin(args.stdin)
    if args.file and not args.name:
        body["name"] = Path(args.file).name
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


def _content(args: argparse.Namespace, driver: str) -> Json:
    if driver in ("command", "container"):
        if args.file:
            raise ClientError(f"--driver {driver} takes no file: put the program and its arguments after --")
        return {"argv": args.rest}
    if not args.file:
        raise ClientError(f"--driver {driver} needs a file.")
    content = _read(args.file)
    if driver == "wasm":
        return {"module": base64.b64encode(content).decode(), "args": args.rest}
    return {"source": _text(content, args.file), "args": args.rest}


def _stdin(path: str) -> str:
    return _text(sys.stdin.buffer.read() if path == "-" else _read(path), f"--stdin {path}")


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
