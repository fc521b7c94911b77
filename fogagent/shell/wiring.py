"""By what the parts of the shell reach the rest of the agent."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from fogagent.events import Event
from fogagent.messages import FromAgent

Feed: TypeAlias = Callable[[Event], None]
"""Tells the state machine what happened, and has done what it then wants."""
Post: TypeAlias = Callable[[FromAgent], None]
"""Sends a message soon, unless there is no connection."""
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], object]
"""Has work done beside everything else, at the latest until the agent ends."""
