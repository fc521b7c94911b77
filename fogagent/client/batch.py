"""Batches from the terminal: from files to the body of POST /tasks/batch, and following what comes back."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import msgspec

from fogagent.client.api import Json
from fogagent.client.errors import ClientError
from fogagent.client.options import PUBLIC


def batch_body(args: argparse.Namespace) -> Json:
    """The batch that a file, or a template and a table, describe. The panel checks the rules.

    Raises:
        ClientError: a file cannot be read or is of another form, or the options leave open what to hand in.
    """
    if args.privacy != PUBLIC:
        raise ClientError(f"Batches are public: hand in what is {args.privacy} by ./fog run, one by one.")
    if args.file and (args.template or args.table):
        raise ClientError("Give a file of tasks, or --template and --table; not both.")
    if args.file:
        body = _from_file(args.file)
    elif args.template and args.table:
        body = {"template": _json(args.template), "parameters": _table(args.table)}
    else:
        raise ClientError(
            "Say what to hand in: a file (.json, .jsonl), or --template T.json --table T.csv; or --follow ID."
        )
    _check_public(body)
    return body | ({"name": args.name} if args.name else {})


def _check_public(body: Json) -> None:
    """What asks to be private must not come to the panel in the open, be it only to be refused there."""
    tasks = body.get("tasks")
    for task in [body.get("template"), *(tasks if isinstance(tasks, list) else ())]:
        level = task.get("privacy", PUBLIC) if isinstance(task, dict) else PUBLIC
        if level != PUBLIC:
            raise ClientError(f"Batches are public: hand in what is {level} by ./fog run, one by one.")


def _from_file(path: str) -> Json:
    if path.endswith(".jsonl"):
        return {"tasks": _lines(path, _text(path))}
    content = _json(path)
    if isinstance(content, list):
        return {"tasks": content}
    if isinstance(content, dict):
        return content
    raise ClientError(
        f"{path}: must hold a list of tasks, or an object with tasks or template and parameters."
    )


def _lines(path: str, text: str) -> list[Any]:
    tasks = []
    for number, line in enumerate(
        text.split("\n"), 1
    ):  # `splitlines` would split at what may stand in a text
        if line.strip():
            try:
                tasks.append(msgspec.json.decode(line))
            except msgspec.DecodeError as error:
                raise ClientError(f"{path}: line {number} is not JSON: {error}.") from error
    return tasks


def _table(path: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for row in csv.DictReader(_text(path).splitlines()):
        if None in row or None in row.values():
            raise ClientError(f"{path}: row {len(rows) + 1} has not as many cells as the heading.")
        rows.append(dict(row))
    if not rows:
        raise ClientError(f"{path}: needs a heading with the names and a row for each task.")
    return rows


def _json(path: str) -> Any:
    try:
        return msgspec.json.decode(_text(path))
    except msgspec.DecodeError as error:
        raise ClientError(f"{path}: is not JSON: {error}.") from error


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ClientError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ClientError(f"{path}: must be UTF-8 text, is not from byte {error.start} on.") from error


class Written(msgspec.Struct):
    """What is read of a result that an earlier run wrote."""

    index: int


BEGINNING = b'{"index":'
"""How every result begins: by it a line that was cut short is known from what is not ours."""

_written = msgspec.json.Decoder(Written)


class Results:
    """Where results go, a line of JSON each: standard output, or a file that an earlier run began."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)
        self.written: set[int] = set()  # indexes

    def __enter__(self) -> Results:
        """Raises ClientError when the file cannot be read or written, or holds something else."""
        self._out: TextIO = sys.stdout
        if self._path is not None:
            try:
                self._go_on_with(self._path)
                self._out = self._path.open("a", encoding="utf-8")
            except OSError as error:
                raise ClientError(f"{self._path}: cannot be written: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is not None:
            self._out.close()

    def put(self, result: Json) -> None:
        """Write it, unless it is there."""
        if result["index"] not in self.written:
            self.written.add(result["index"])
            self._out.write(msgspec.json.encode(result).decode() + "\n")
            self._out.flush()

    def _go_on_with(self, path: Path) -> None:
        """Note what is there. A last line that an earlier run did not finish is dropped: it comes again."""
        content = path.read_bytes() if path.exists() else b""
        end = content.rfind(b"\n") + 1
        cut = content[end:]
        try:
            self.written = {result.index for result in _written.decode_lines(content[:end])}
        except msgspec.DecodeError as error:
            raise ClientError(f"{path}: holds something else than results; name another file.") from error
        if not (cut.startswith(BEGINNING) or BEGINNING.startswith(cut)):
            raise ClientError(f"{path}: ends with something else than results; name another file.")
        if cut:
            os.truncate(path, end)
