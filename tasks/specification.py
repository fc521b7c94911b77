"""What may be asked for: the fields of a specification, and the sentence for each rule that one breaks."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from coordinator.values import RoutingStrategy
from fogagent.messages import (
    MAX_ARGS_BYTES,
    MAX_ENV_BYTES,
    MAX_MODULE_BYTES,
    MAX_SOURCE_BYTES,
    MAX_STDIN_BYTES,
)
from tasks.fields import KIB, FieldError, Fields
from tasks.privacy import SEALED, Privacy
from tasks.wasm_modules import wrong_with


class Driver(StrEnum):
    """What runs a task on its node (`fogagent.drivers`)."""

    PYTHON = "python"
    WASM = "wasm"
    COMMAND = "command"
    CONTAINER = "container"


# Which field says what to run, and for which driver.
CONTENT_OF = {
    Driver.PYTHON: "source",
    Driver.WASM: "module",
    Driver.COMMAND: "argv",
    Driver.CONTAINER: "image",
}
TAKES_ARGV = frozenset({Driver.COMMAND, Driver.CONTAINER})
TAKES_ARGS = frozenset({Driver.PYTHON, Driver.WASM})

# Small enough that several fit on a machine that shares two cores among five agents.
DEFAULT_CORES = 0.25
DEFAULT_MEMORY_MB = 128
DEFAULT_TIMEOUT_S = 60
DEFAULT_PRIORITY = 5
DEFAULT_MAX_ATTEMPTS = 3

MAX_ARGS = 256
MAX_BASE64_BYTES = MAX_MODULE_BYTES * 4 // 3 + KIB * KIB
"""Checked before decoding, so that nothing huge is decoded; line breaks in it take some room, too."""
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")

KNOWN_FIELDS = (
    "name", "driver", "source", "module", "argv", "image", "args", "env", "stdin", "network", "timeout_s",
    "cores", "memory_mb", "disk_mb", "gpus", "strategy", "region", "region_required", "labels",
    "onion_required", "priority", "max_attempts", "privacy",
)  # fmt: skip


class SpecError(Exception):
    """A specification that breaks rules, all of them in ``errors``. The submitter's to mend."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(" ".join(error.message for error in errors))
        self.errors = list(errors)

    @classmethod
    def of(cls, field: str, rule: str) -> SpecError:
        """For the one rule that ``field`` breaks, told as "must be …"."""
        return cls([FieldError(field, f"{field}: {rule}")])


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task as `validate` lets it pass. The names are those of `tasks.models.Task`.

    ``payload`` is the script or the module; ``args`` is the argv of a command or container.
    """

    name: str
    driver: Driver
    payload: bytes | None
    image: str
    args: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes | None
    network: bool
    timeout_s: float
    cpu_millis: int
    memory_mb: int
    disk_mb: int
    gpu_count: int
    strategy: RoutingStrategy
    region: str
    region_required: bool
    labels: dict[str, str]
    onion_required: bool
    priority: int
    max_attempts: int
    privacy: Privacy


def validate(given: Mapping[str, Any], *, content: bool = True) -> TaskSpec:
    """Read a specification from the fields of a form or of JSON (`KNOWN_FIELDS`).

    ``module`` is bytes or base64. For a preview, which only asks where a task would go,
    ``content=False`` does not insist on something to run.

    Raises:
        SpecError: with a sentence for every rule that is broken.
    """
    fields = Fields(given)
    fields.refuse_unknown(KNOWN_FIELDS)
    driver = Driver(fields.choice("driver", list(Driver), Driver.PYTHON))
    _check_what_runs(fields, driver, needed=content)
    spec = TaskSpec(driver=driver, **{name: read(fields, driver) for name, read in _READERS.items()})
    if content and spec.privacy in SEALED:
        fields.refuse("privacy", _must_be_sealed(spec.privacy))
    if fields.errors:
        raise SpecError(_worth_saying(fields.errors))
    return spec


class Validator:
    """Validates one specification after the other. Those of a batch differ in little: what is as in the one
    before is not read again."""

    def __init__(self) -> None:
        self._given: Mapping[str, Any] = {}
        self._spec: TaskSpec | None = None

    def validate(self, given: Mapping[str, Any]) -> TaskSpec:
        """As the function of that name does."""
        changed = _different(self._given, given)
        if self._spec is None or not changed <= ALONE:
            self._spec = validate(given)
        elif changed:
            self._spec = _with_others(self._spec, given, changed)
        self._given = given
        return self._spec


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    if before.keys() != after.keys():
        return {*before, *after}
    return {
        field
        for field, value in after.items()
        # Of equal numbers and truth values one may be right and the other wrong.
        if (was := before[field]) is not value and (type(was) is not type(value) or was != value)
    }


def _with_others(spec: TaskSpec, given: Mapping[str, Any], changed: Iterable[str]) -> TaskSpec:
    """``spec`` with the fields read anew that have changed, all of which are `ALONE`."""
    fields = Fields(given)
    names = [NAMES.get(field, field) for field in changed]
    found = replace(spec, **{name: _READERS[name](fields, spec.driver) for name in names})
    if fields.errors:
        raise SpecError(fields.errors)
    return found


def _worth_saying(errors: Sequence[FieldError]) -> list[FieldError]:
    """Where the driver is unknown, what belongs to a driver cannot be judged."""
    if all(error.field != "driver" for error in errors):
        return list(errors)
    dependent = {*CONTENT_OF.values(), "args", "network"}
    return [error for error in errors if error.field.partition("[")[0] not in dependent]


def _check_what_runs(fields: Fields, driver: Driver, *, needed: bool) -> None:
    """Each driver runs one kind of thing: that must be given, the others must not."""
    own = CONTENT_OF[driver]
    if needed and not fields.has(own):
        fields.refuse(own, f"is missing; the driver {driver} needs {_WHAT[own]}.")
    for other, field in CONTENT_OF.items():
        if field != own and fields.has(field) and not (field == "argv" and driver in TAKES_ARGV):
            fields.refuse(field, f"is for the driver {other}; this task's driver is {driver}.")


def _must_be_sealed(level: Privacy) -> str:
    return (
        f"must be public here: what is {level} is sealed before it comes to the panel, as "
        f"“./fog run --privacy {level}” does, or the form in a browser with JavaScript."
    )


_WHAT = {
    "source": "the text of a script",
    "module": "a WebAssembly module in base64",
    "argv": "the command and its arguments as a list",
    "image": "the name of an image",
}


def _payload(fields: Fields, driver: Driver) -> bytes | None:
    if driver is Driver.PYTHON and fields.has("source"):
        return fields.content("source", most=MAX_SOURCE_BYTES)
    if driver is Driver.WASM and fields.has("module"):
        return _module(fields)
    return None


def _module(fields: Fields) -> bytes | None:
    given = fields.content("module")
    if given is None:
        return None
    if len(given) > MAX_BASE64_BYTES:
        fields.limit("module", len(given) * 3 // 4, MAX_MODULE_BYTES)
        return None
    module = given if given.startswith(b"\0asm") else _decoded(given)
    if module is None:
        fields.refuse("module", "must be a WebAssembly module, as a file or in base64.")
        return None
    before = len(fields.errors)
    fields.limit("module", len(module), MAX_MODULE_BYTES)
    if len(fields.errors) == before and (problem := wrong_with(module)):
        fields.refuse("module", problem)
    return module


def _decoded(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return None


def _args(fields: Fields, driver: Driver) -> tuple[str, ...]:
    if driver in TAKES_ARGS:
        return fields.words("args", most=MAX_ARGS, most_bytes=MAX_ARGS_BYTES)
    if fields.words("args", most=MAX_ARGS, most_bytes=MAX_ARGS_BYTES):
        fields.refuse("args", f"is for scripts and modules; the driver {driver} takes argv.")
    argv = fields.words("argv", most=MAX_ARGS, most_bytes=MAX_ARGS_BYTES)
    if argv and not argv[0].strip():
        fields.refuse("argv[0]", "must name the program to run.")
    return argv


def _network(fields: Fields, driver: Driver) -> bool:
    wished = fields.flag("network")
    if wished and driver not in TAKES_ARGV:
        fields.refuse("network", f"must be false for the driver {driver}, whose programs have no sockets.")
    return wished


def _region_required(fields: Fields) -> bool:
    required = fields.flag("region_required")
    if required and not fields.has("region"):
        fields.refuse("region", "is missing; name it, or leave region_required out.")
    return required


def _labels(fields: Fields) -> dict[str, str]:
    labels = fields.pairs(
        "labels",
        most=32,
        most_bytes=8 * KIB,
        name=LABEL_NAME,
        rule="names are letters, digits and . _ / -, and have at most 100 characters",
    )
    for name, value in labels.items():
        if len(value) > 200:
            fields.refuse(f"labels.{name}", f"must be at most 200 characters, was {len(value)}.")
    return labels


# How each column of a task is read.
_READERS: Mapping[str, Callable[[Fields, Driver], Any]] = {
    "name": lambda fields, driver: fields.text("name", most=200) or f"{driver} task",
    "payload": _payload,
    "image": lambda fields, _: fields.text("image", most=500),
    "args": _args,
    "env": lambda fields, _: fields.pairs(
        "env",
        most=256,
        most_bytes=MAX_ENV_BYTES,
        name=ENV_NAME,
        rule="names are letters, digits and _, do not start with a digit and have at most 100 characters",
    ),
    "stdin": lambda fields, _: fields.content("stdin", most=MAX_STDIN_BYTES) or None,
    "network": _network,
    "timeout_s": lambda fields, _: fields.number(
        "timeout_s", least=1, most=86_400, default=DEFAULT_TIMEOUT_S, unit="seconds"
    ),
    "cpu_millis": lambda fields, _: round(
        1000 * fields.number("cores", least=0.01, most=256, default=DEFAULT_CORES, unit="cores")
    ),
    "memory_mb": lambda fields, _: fields.whole(
        "memory_mb", least=16, most=4_194_304, default=DEFAULT_MEMORY_MB, unit="MB"
    ),
    "disk_mb": lambda fields, _: fields.whole("disk_mb", least=0, most=1_000_000_000, default=0, unit="MB"),
    "gpu_count": lambda fields, _: fields.whole("gpus", least=0, most=64, default=0, unit="GPUs"),
    "strategy": lambda fields, _: RoutingStrategy(
        fields.choice("strategy", list(RoutingStrategy), RoutingStrategy.LEAST_LOADED)
    ),
    "region": lambda fields, _: fields.text("region", most=60),
    "region_required": lambda fields, _: _region_required(fields),
    "labels": lambda fields, _: _labels(fields),
    "onion_required": lambda fields, _: fields.flag("onion_required"),
    "priority": lambda fields, _: fields.whole("priority", least=1, most=10, default=DEFAULT_PRIORITY),
    "max_attempts": lambda fields, _: fields.whole(
        "max_attempts", least=1, most=10, default=DEFAULT_MAX_ATTEMPTS, unit="attempts"
    ),
    "privacy": lambda fields, _: Privacy(fields.choice("privacy", list(Privacy), Privacy.PUBLIC)),
}

NAMES = {"cores": "cpu_millis", "gpus": "gpu_count"}
"""Fields whose columns have other names."""

ALONE = frozenset(
    {
        "name", "args", "env", "stdin", "timeout_s", "cores", "memory_mb", "disk_mb", "gpus", "strategy",
        "labels", "onion_required", "priority", "max_attempts",
    }
)  # fmt: skip
"""Fields that no rule connects with others."""
