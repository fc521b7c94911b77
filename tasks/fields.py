"""Reading a specification's fields one by one, so that everything wrong with it is said at once.

Fields come from a form or from JSON: a number may arrive as text, an empty value means the default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fogpanel.storable import RULE, SURROGATE, UNSTORABLE

KIB, MIB = 1024, 1024 * 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class FieldError:
    """``field`` may point inside: ``args[3]``, ``env.PATH``. ``message`` starts with it."""

    field: str
    message: str


class Fields:
    """The fields of one specification; ``errors`` gathers what is wrong with them."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self.errors: list[FieldError] = []

    def refuse(self, field: str, rule: str) -> None:
        """Note that ``field`` breaks a rule, told as "must be …"."""
        self.errors.append(FieldError(field, f"{field}: {rule}"))

    def has(self, field: str) -> bool:
        return not _is_empty(self._given.get(field))

    def refuse_unknown(self, known: Collection[str]) -> None:
        for field in self._given:
            if field not in known:
                self.refuse(str(field)[:40], f"is not a field of a task; known are {', '.join(known)}.")

    def text(self, field: str, *, most: int, default: str = "") -> str:
        """One line of text without surrounding blanks, at most ``most`` characters."""
        value = self._given.get(field)
        if _is_empty(value):
            return default
        if not isinstance(value, str):
            self.refuse(field, f"must be text, was {shown(value)}.")
            return default
        value = value.strip()
        if len(value) > most:
            self.refuse(field, f"must be at most {most} characters, was {len(value)}.")
        elif _CONTROL.search(value):
            self.refuse(field, "must be one line of text without control characters.")
        return value

    def number(self, field: str, *, least: float, most: float, default: float, unit: str = "") -> float:
        """A number from ``least`` to ``most``; ``unit`` is the word that follows the limits, if any."""
        of_unit, in_unit = (f" of {unit}", f" {unit}") if unit else ("", "")
        value = self._given.get(field)
        if _is_empty(value):
            return default
        number = _as_number(value)
        if number is None:
            self.refuse(field, f"must be a number{of_unit}, was {shown(value)}.")
        elif not least <= number <= most:
            self.refuse(field, f"must be between {least:.12g} and {most:.12g}{in_unit}, was {number:.12g}.")
        else:
            return number
        return default

    def whole(self, field: str, *, least: int, most: int, default: int, unit: str = "") -> int:
        number = self.number(field, least=least, most=most, default=default, unit=unit)
        if number != int(number):
            self.refuse(field, f"must be a whole number, was {number:.12g}.")
        return int(number)

    def flag(self, field: str) -> bool:
        value = self._given.get(field)
        if _is_empty(value) or isinstance(value, bool):
            return bool(value)
        self.refuse(field, f"must be true or false, was {shown(value)}.")
        return False

    def choice(self, field: str, choices: Collection[str], default: str) -> str:
        value = self._given.get(field)
        if _is_empty(value):
            return default
        if isinstance(value, str) and value in choices:
            return value
        self.refuse(field, f"must be one of {', '.join(choices)}, was {shown(value)}.")
        return default

    def content(self, field: str, *, most: int | None = None) -> bytes | None:
        """Text as UTF-8, or bytes; None when it was not given. ``most`` limits the bytes."""
        value = self._given.get(field)
        if value is None:
            return None
        if not isinstance(value, str | bytes):
            self.refuse(field, f"must be text, was {shown(value)}.")
            return None
        if isinstance(value, str) and SURROGATE.search(value):
            self.refuse(field, "must be text that can be written as UTF-8, without lone surrogates.")
            return None
        content = value.encode() if isinstance(value, str) else value
        if most is not None:
            self.limit(field, len(content), most)
        return content

    def limit(self, field: str, size: int, most: int) -> None:
        if size <= most:
            return
        was = in_bytes(size, ".1f")
        if was == in_bytes(most, ".1f"):
            was = f"{size - most} bytes more"
        self.refuse(field, f"at most {in_bytes(most, 'g')}, was {was}.")

    def words(self, field: str, *, most: int, most_bytes: int) -> tuple[str, ...]:
        """A list of texts, such as arguments; ``most_bytes`` limits them together."""
        value = self._given.get(field)
        if _is_empty(value):
            return ()
        if not isinstance(value, list | tuple):
            self.refuse(field, f"must be a list of texts, was {shown(value)}.")
            return ()
        for index, word in enumerate(value):
            self._check_word(f"{field}[{index}]", word)
        words = tuple(word for word in value if isinstance(word, str))
        if len(value) > most:
            self.refuse(field, f"must be at most {most} texts, were {len(value)}.")
        self.limit(field, _size(words), most_bytes)
        return words

    def pairs(
        self, field: str, *, most: int, most_bytes: int, name: re.Pattern[str], rule: str
    ) -> dict[str, str]:
        """Names with values, such as the environment; ``rule`` says in words what ``name`` matches."""
        value = self._given.get(field)
        if _is_empty(value):
            return {}
        if not isinstance(value, Mapping):
            self.refuse(field, f"must be names with values, was {shown(value)}.")
            return {}
        for key, text in value.items():
            if not isinstance(key, str) or not name.fullmatch(key):
                self.refuse(field, f"{rule}; {shown(key)} is not such a name.")
            else:
                self._check_word(f"{field}.{key}", text)
        pairs = {key: text for key, text in value.items() if isinstance(key, str) and isinstance(text, str)}
        if len(value) > most:
            self.refuse(field, f"must be at most {most} names, were {len(value)}.")
        self.limit(field, _size([*pairs, *pairs.values()]), most_bytes)
        return pairs

    def _check_word(self, field: str, word: object) -> None:
        if not isinstance(word, str):
            self.refuse(field, f"must be text, was {shown(word)}.")
        elif UNSTORABLE.search(word):
            self.refuse(field, RULE)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _size(texts: Collection[str]) -> int:
    return sum(len(text.encode(errors="replace")) for text in texts)


def shown(value: object) -> str:
    """A wrong value as an error may repeat it: quoted when it is text, never long."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "·" for c in text[:41])
    text = text[:40] + "…" if len(text) > 40 else text
    return f"“{text}”" if isinstance(value, str) else text


def in_bytes(size: int, precision: str) -> str:
    """20971520 as "20.0 MiB" with the precision ".1f", 1048576 as "1 MiB" with "g"."""
    unit, factor = ("MiB", MIB) if size >= MIB else ("KiB", KIB)
    return f"{size / factor:{precision}} {unit}"
