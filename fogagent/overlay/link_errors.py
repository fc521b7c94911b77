"""What goes wrong with links, each with a sentence for whoever runs the node."""

from __future__ import annotations


class LinkError(Exception):
    """Base of all. ``retry`` says whether the same can succeed later without anybody's doing."""

    def __init__(self, sentence: str, *, retry: bool) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.retry = retry


def said(error: Exception) -> str:
    """What the operating system says of it, to be part of a sentence."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Unreachable(LinkError):
    """There is no link to that peer, and none could be made."""


class CannotListen(LinkError):
    """Links cannot be accepted at this address: it is this node's to mend."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, retry=False)


class HandshakeFailed(LinkError):
    """The ends did not agree on who they are."""


class BadFrame(LinkError):
    """The peer sent what is no frame: it is broken, or not one of us."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, retry=False)


class LinkEnded(LinkError):
    """A link is over, for a reason that does not keep a new one from being made."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, retry=True)
