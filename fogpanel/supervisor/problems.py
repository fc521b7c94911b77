"""What can keep the panel from starting."""

from __future__ import annotations


class CannotStart(Exception):
    """The panel cannot start as asked. ``str`` is one sentence: what is wrong and what to do."""
