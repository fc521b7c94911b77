"""Text that every database can hold: JSON, query strings and cookies can spell what some cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ninja import Schema
from pydantic import field_validator

SURROGATE = re.compile(r"[\ud800-\udfff]")
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
RULE = "must be text without NUL characters and lone surrogates."


class Asked(Schema):
    """What a client sends to be stored or looked for: none of its texts is `UNSTORABLE`."""

    @field_validator("*")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        if any(UNSTORABLE.search(text) for text in _texts(value)):
            raise ValueError(RULE)
        return value


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value that fits its type, and so is not nested deeply."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
