"""From the options of `fog run` to a sealed task: what the panel is told, and what it is only to pass on."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fogagent.client.api import Json
from fogagent.client.errors import ClientError
from fogagent.client.submission import Content, placement, read_content
from fogagent.sealing.task import SealedSpec, SealedTask, Terms, seal_task

USUAL: Json = {"timeout_s": 60.0, "cores": 0.25, "memory_mb": 128, "network": False}
"""As the panel has them. They are told all the same: the node compares what the panel orders with what we
sealed, so none of it may be left to the panel."""


@dataclass(frozen=True)
class Prepared:
    """A task that was sealed here. ``told`` is the body of POST /reservations."""

    told: Json
    terms: Terms
    task: SealedTask
    result_key: X25519PrivateKey

    @property
    def privacy(self) -> str:
        return str(self.told["privacy"])


def prepare(args: argparse.Namespace) -> Prepared:
    """Seal the task that these options describe. No name is made up for it: that of a file tells something.

    Raises:
        ClientError: a file cannot be read, or the options leave open what is to run.
        TooLarge: more than fits into a sealed task.
    """
    told = USUAL | placement(args) | {"privacy": args.privacy}
    content, key = read_content(args), X25519PrivateKey.generate()
    _check(content, told["driver"])
    terms = Terms(
        driver=told["driver"],
        timeout_s=told["timeout_s"],
        cpu_millis=round(1000 * told["cores"]),
        memory_mb=told["memory_mb"],
        network=told["network"],
    )
    spec = SealedSpec(terms=terms, result_key=key.public_key().public_bytes_raw(), **content._asdict())
    return Prepared(told, terms, seal_task(_valid(spec)), key)


def _check(content: Content, driver: str) -> None:
    """What the panel checks of a public task, but cannot see of this one, or refuses only when asked."""
    if driver == "container":
        raise ClientError("What runs in a container cannot be private: engines keep what they run on disk.")
    if driver == "command" and not content.args:
        raise ClientError("Say what to run: --driver command -- PROGRAM ARGS")
    if content.image:
        raise ClientError(f"--image is for --driver container; this task's driver is {driver}.")


def _valid(spec: SealedSpec) -> SealedSpec:
    """Its node would refuse what breaks the limits, but only after it was sent."""
    try:
        return msgspec.convert(msgspec.to_builtins(spec, builtin_types=(bytes,)), SealedSpec)
    except msgspec.ValidationError as error:
        raise ClientError(f"This cannot be sealed as a task: {error}.") from error
