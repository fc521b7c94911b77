"""What goes wrong with sealed content. ``str`` is a sentence for the task's submitter or the node's owner."""

from __future__ import annotations

from typing import ClassVar


class SealingError(Exception):
    """``retry`` tells whether fetching once more what was read can help."""

    retry: ClassVar[bool] = False


class Damaged(SealingError):
    """Bytes were changed, added, swapped or lost since they were sealed: the fault of disk or network, or of
    somebody on the way."""

    retry = True


class Cut(Damaged):
    """The end is missing; what came of it is genuine."""


class NotByNode(Damaged):
    """What is said to come from a node does not have its signature: it was changed since, or somebody else
    made it."""


class UnknownVersion(SealingError):
    """Sealed by a newer program than this one: this one's owner is to update."""


class WrongKey(SealingError):
    """The key is not the one that this was sealed with or for, or nothing can be sealed for it."""


class NotInDirectory(SealingError):
    """The reservation names a node that the signed directory does not: it may be newer than the directory
    that is held, or made up. Nothing was wrapped for anybody."""

    retry = True


class BadContent(SealingError):
    """It opened, so it is genuine, but it breaks the rules of what belongs inside: the sender's fault."""


class TooLarge(SealingError):
    """More than can be sealed as one task or one result: the sender's to make smaller."""


class Altered(SealingError):
    """The order asks for something else than the submitter sealed: the fault of the panel, or of somebody
    in its place."""
