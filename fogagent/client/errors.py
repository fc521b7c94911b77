"""What goes wrong for the client, each with a sentence for the person at the terminal."""

from __future__ import annotations


class ClientError(Exception):
    """``str`` says what is wrong and what to do."""


class Unreachable(ClientError):
    """The panel did not answer, although it was asked several times."""


class Refused(ClientError):
    """The panel answered with an error. ``status`` is HTTP's, ``code`` is for programs."""

    def __init__(self, sentence: str, *, status: int, code: str = "") -> None:
        super().__init__(sentence)
        self.status, self.code = status, code
