"""What comes with a sealed task: its outside, the sealed content, a wrapped key for each node.

Checked as far as one can who has none of the keys.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from fogagent.messages import MAX_SEALED_BYTES
from fogagent.sealing.content import HEADER_BYTES, check_header
from fogagent.sealing.errors import SealingError
from fogagent.sealing.packing import BUCKETS
from fogagent.sealing.wrapping import WRAPPED_BYTES
from nodes.models import Node
from tasks.fields import Fields, in_bytes
from tasks.models import Reservation
from tasks.privacy import SEALED, Privacy
from tasks.specification import Driver, SpecError, TaskSpec, validate

INSIDE = ("source", "module", "argv", "image", "args", "env", "stdin")
"""Fields of a task that belong inside what is sealed."""


def validate_outside(given: Mapping[str, Any]) -> TaskSpec:
    """Read what the panel may know of a sealed task. Raises SpecError, also for what it may not know."""
    fields = Fields(given)
    for name in INSIDE:
        if fields.has(name):
            fields.refuse(name, "belongs inside what is sealed; leave it out here.")
    if fields.errors:
        raise SpecError(fields.errors)
    spec = validate(given, content=False)
    if spec.privacy not in SEALED:
        known = ", ".join(level for level in Privacy if level in SEALED)
        raise SpecError.of("privacy", f"must be one of {known}; public tasks need no reservation.")
    if spec.driver is Driver.CONTAINER:
        known = ", ".join(driver for driver in Driver if driver is not Driver.CONTAINER)
        rule = f"must be one of {known}: container engines keep what they run on their disk, open to read."
        raise SpecError.of("driver", rule)
    return spec


def read_sealed(given: object) -> bytes:
    """Sealed content from its base64. Raises SpecError."""
    content = _decoded(given)
    if content is None:
        raise SpecError.of("sealed", "must be sealed content in base64.")
    if len(content) > MAX_SEALED_BYTES:
        most, was = in_bytes(MAX_SEALED_BYTES, "g"), in_bytes(len(content), ".1f")
        raise SpecError.of("sealed", f"at most {most}, was {was}.")
    if len(content) not in BUCKETS:
        raise SpecError.of(
            "sealed", f"must be padded to a power of two, {BUCKETS[0]} or more; was {len(content)} bytes."
        )
    try:
        check_header(content[:HEADER_BYTES])
    except SealingError as error:
        raise SpecError.of("sealed", f"is not right: {error}") from error
    return content


def read_wraps(given: object, reservation: Reservation) -> dict[str, str]:
    """The wrapped keys by the number of their node: one for each node of the reservation, and no others.
    Raises SpecError."""
    if not isinstance(given, list) or not all(isinstance(wrap, Mapping) for wrap in given):
        raise SpecError.of("wraps", "must be a list of objects with node and wrapped.")
    nodes = dict(Node.objects.filter(id__in=reservation.nodes).values_list("public_key", "id"))
    found: dict[str, str] = {}
    for index, wrap in enumerate(given):
        node_id = nodes.get(str(wrap.get("node")))
        if node_id is None:
            raise SpecError.of(f"wraps[{index}].node", "must be the identity of a node of the reservation.")
        wrapped = _decoded(wrap.get("wrapped"))
        if wrapped is None or len(wrapped) != WRAPPED_BYTES:
            raise SpecError.of(f"wraps[{index}].wrapped", f"must be {WRAPPED_BYTES} bytes in base64.")
        found[str(node_id)] = base64.b64encode(wrapped).decode()
    if len(found) != len(reservation.nodes) or len(given) != len(found):
        raise SpecError.of("wraps", f"must be one for each of the {len(reservation.nodes)} nodes reserved.")
    return found


def _decoded(given: object) -> bytes | None:
    if not isinstance(given, str):
        return None
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return None
