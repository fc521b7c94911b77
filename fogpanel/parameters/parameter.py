"""What a parameter is: a named figure with a unit, a range, a default, and who reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from django.conf import settings

Values: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """``name`` is for programs, ``title`` and ``about`` for people.

    ``setting`` names the Django setting that is the default where no one has changed the parameter, and
    ``variable`` the environment variable behind it. ``danger`` is what to think of before changing it; a
    person is asked once more then.
    """

    name: str
    title: str
    about: str
    readers: str
    least: float
    most: float
    unit: str = ""
    whole: bool = False
    standard: float = 0.0
    setting: str = ""
    variable: str = ""
    danger: str = ""

    @property
    def default(self) -> float:
        return float(getattr(settings, self.setting)) if self.setting else self.standard

    def complaint(self, value: object) -> str:
        """The sentence that says what is wrong with ``value``; empty where nothing is."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return f"{self.name}: must be a number, was {value!r}."
        if not self.least <= value <= self.most:
            return (
                f"{self.name}: must be between {self.told(self.least)} and {self.told(self.most)}, "
                f"was {self.told(value)}."
            )
        if self.whole and value != int(value):
            return f"{self.name}: must be a whole number, was {value:g}."
        return ""

    def told(self, value: float) -> str:
        """A value with its unit, as people write it."""
        amount = f"{value:,.10g}"
        return f"{amount} {self.unit}" if self.unit else amount


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that parameters must keep together. ``broken`` names the field, the rule and the way out."""

    names: tuple[str, ...]
    broken: Callable[[Values], str]


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are read, shown and changed together."""

    slug: str
    title: str
    about: str
    parameters: tuple[Parameter, ...]


class Refused(Exception):
    """These values break rules. ``errors`` holds (name, sentence) pairs, every one that is broken."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__(" ".join(sentence for _, sentence in errors))
        self.errors = list(errors)
