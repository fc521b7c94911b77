"""Why an order was not brought to its node, by name: what gateways tell, and what the panel sees itself."""

from __future__ import annotations

from typing import NamedTuple

from django.db import models

from fogagent.messages import Carried, NotCarried

REASON_LENGTH = 60


class Trouble(models.TextChoices):
    """Those that gateways tell have the names of `NotCarried`."""

    UNSAID = "unsaid", "not said why"
    NO_CIRCUIT = NotCarried.NO_CIRCUIT.value, "no circuit"
    LOST = NotCarried.LOST.value, "lost on its way"
    REFUSED = NotCarried.REFUSED.value, "refused by its node"
    TIMEOUT = NotCarried.TIMEOUT.value, "not there in time"
    NO_CONTENT = NotCarried.NO_CONTENT.value, "content not had from the panel"
    BUSY = NotCarried.BUSY.value, "gateway busy"
    WITHDRAWN = NotCarried.WITHDRAWN.value, "withdrawn"
    NO_PART = NotCarried.NO_PART.value, "no gateway any more"
    UNFIT = NotCarried.UNFIT.value, "cannot be brought"
    FAILED = NotCarried.FAILED.value, "gateway failed"
    # What the panel sees
    SILENT = "silent", "gateway silent"
    CUT_OFF = "cut-off", "gateway disconnected"
    NOT_BEGUN = "not-begun", "not begun by its node"
    NO_GATEWAY = "no-gateway", "no gateway"
    NOT_SEALABLE = "not-sealable", "nothing can be sealed for its node"


class Failed(NamedTuple):
    """``reason``: the name by which the node refused it, where it did."""

    trouble: Trouble
    sentence: str
    reason: str = ""


def told(answer: Carried) -> Failed:
    """What an answer says that is not ok. An agent of before tells no kind, and its sentence stays."""
    trouble = Trouble(answer.kind.value) if answer.kind else Trouble.UNSAID
    sentence = answer.sentence.replace("\0", "") or "Its gateway does not say why."
    return Failed(trouble, sentence, answer.reason.replace("\0", "")[:REASON_LENGTH])
