"""Lines on the terminal: who says what, told apart by colour."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from typing import TypeAlias

Say: TypeAlias = Callable[[str, str], None]
"""``say(who, line)``: one line of a program's log, or of the supervisor's own."""

OURSELVES = "fog"
COLOURS = ("36", "35", "33", "32", "34", "96", "95", "93", "92", "94")
NAME_WIDTH = 16


class Console:
    """Writes every line to standard error, with the speaker's name in front."""

    def __init__(self) -> None:
        self._colours = itertools.cycle(COLOURS)
        self._colour_of: dict[str, str] = {OURSELVES: "1"}
        self._coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")

    def say(self, who: str, line: str) -> None:
        print(f"{self._name(who)} {line}", file=sys.stderr, flush=True)

    def _name(self, who: str) -> str:
        padded = who.ljust(NAME_WIDTH)
        if not self._coloured:
            return padded
        if who not in self._colour_of:
            self._colour_of[who] = next(self._colours)
        return f"\x1b[{self._colour_of[who]}m{padded}\x1b[0m"
