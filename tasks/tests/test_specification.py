"""What may be handed in, and the sentence for each broken rule."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from coordinator.values import RoutingStrategy
from fogagent.messages import MAX_FRAME_BYTES, MAX_STDIN_BYTES, Blob, Run, encode_frame
from tasks.specification import KNOWN_FIELDS, SpecError, TaskSpec, Validator, validate

MODULE = bytes(wasmtime.wat2wasm('(module (func (export "_start")))'))
PYTHON = {"source": "print(1)"}


def problems(**given: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        validate(given)
    return {error.field: error.message for error in caught.value.errors}


def test_a_script_alone_is_enough() -> None:
    spec = validate(PYTHON)
    assert (spec.name, spec.driver, spec.payload) == ("python task", "python", b"print(1)")
    assert (spec.cpu_millis, spec.memory_mb, spec.timeout_s) == (250, 128, 60)
    assert (spec.strategy, spec.priority, spec.max_attempts) == (RoutingStrategy.LEAST_LOADED, 5, 3)
    assert (spec.stdin, spec.args, spec.env, spec.labels) == (None, (), {}, {})


def test_everything_that_can_be_said_arrives() -> None:
    spec = validate(
        {
            "name": " frames ", "driver": "command", "argv": ["ffmpeg", "-i", ""], "env": {"A_1": "x=y\n"},
            "stdin": "über", "network": True, "timeout_s": 1.5, "cores": 2, "memory_mb": 2048, "disk_mb": 5,
            "gpus": 1, "strategy": "proximity_based", "region": "eu-west", "region_required": True,
            "labels": {"rack": "3"}, "onion_required": True, "priority": 9, "max_attempts": 1,
        }
    )  # fmt: skip
    assert spec.name == "frames"
    assert spec.args == ("ffmpeg", "-i", "")
    assert (spec.env, spec.stdin, spec.network) == ({"A_1": "x=y\n"}, "über".encode(), True)
    assert (spec.timeout_s, spec.cpu_millis, spec.memory_mb, spec.disk_mb, spec.gpu_count) == (
        1.5,
        2000,
        2048,
        5,
        1,
    )
    assert (spec.strategy, spec.region, spec.region_required) == ("proximity_based", "eu-west", True)
    assert (spec.labels, spec.onion_required, spec.priority, spec.max_attempts) == ({"rack": "3"}, True, 9, 1)


def test_numbers_may_be_text_and_empty_means_the_default() -> None:
    spec = validate({**PYTHON, "cores": "0.5", "memory_mb": "64", "timeout_s": " ", "region": None})
    assert (spec.cpu_millis, spec.memory_mb, spec.timeout_s, spec.region) == (500, 64, 60, "")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "x" * 201, "name: must be at most 200 characters, was 201."),
        ("name", "a\nb", "name: must be one line of text without control characters."),
        ("name", "\ud800", "name: must be one line of text without control characters."),
        ("name", 7, "name: must be text, was 7."),
        ("timeout_s", 0, "timeout_s: must be between 1 and 86400 seconds, was 0."),
        ("timeout_s", 86_401, "timeout_s: must be between 1 and 86400 seconds, was 86401."),
        ("timeout_s", "soon", "timeout_s: must be a number of seconds, was “soon”."),
        ("timeout_s", True, "timeout_s: must be a number of seconds, was True."),
        ("timeout_s", "nan", "timeout_s: must be a number of seconds, was “nan”."),
        ("cores", 0, "cores: must be between 0.01 and 256 cores, was 0."),
        ("cores", 10**400, f"cores: must be a number of cores, was 1{'0' * 39}…."),
        ("memory_mb", 15, "memory_mb: must be between 16 and 4194304 MB, was 15."),
        ("memory_mb", 64.5, "memory_mb: must be a whole number, was 64.5."),
        ("disk_mb", -1, "disk_mb: must be between 0 and 1000000000 MB, was -1."),
        ("gpus", 65, "gpus: must be between 0 and 64 GPUs, was 65."),
        ("priority", 11, "priority: must be between 1 and 10, was 11."),
        ("max_attempts", 0, "max_attempts: must be between 1 and 10 attempts, was 0."),
        (
            "strategy",
            "fastest",
            "strategy: must be one of round_robin, least_loaded, affinity_based, proximity_based, "
            "privacy_aware, was “fastest”.",
        ),
        ("driver", "perl", "driver: must be one of python, wasm, command, container, was “perl”."),
        ("source", 5, "source: must be text, was 5."),
        ("stdin", "x" * (MAX_STDIN_BYTES + 1), "stdin: at most 1 MiB, was 1 bytes more."),
        ("source", "x" * 20 * 1024 * 1024, "source: at most 1 MiB, was 20.0 MiB."),
        ("source", "\udfff", "source: must be text that can be written as UTF-8, without lone surrogates."),
        ("args", "a b", "args: must be a list of texts, was “a b”."),
        ("args", ["a"] * 257, "args: must be at most 256 texts, were 257."),
        ("args", ["a" * 40_000], "args: at most 32 KiB, was 39.1 KiB."),
        ("env", ["A=1"], "env: must be names with values, was ['A=1']."),
        ("labels", {"rack": "x" * 201}, "labels.rack: must be at most 200 characters, was 201."),
        ("region", "x" * 61, "region: must be at most 60 characters, was 61."),
        ("region_required", True, "region: is missing; name it, or leave region_required out."),
        ("region_required", "yes", "region_required: must be true or false, was “yes”."),
        ("network", True, "network: must be false for the driver python, whose programs have no sockets."),
        ("image", "alpine", "image: is for the driver container; this task's driver is python."),
        ("timout_s", 5, f"timout_s: is not a field of a task; known are {', '.join(KNOWN_FIELDS)}."),
    ],
)  # fmt: skip
def test_each_rule_has_its_sentence(field: str, value: object, sentence: str) -> None:
    found = problems(**(PYTHON | {field: value}))
    assert list(found.values()) == [sentence]


def test_wrong_words_are_named_one_by_one() -> None:
    found = problems(**PYTHON, args=["a", 3, "\0"], env={"1A": "x", "B": 4})
    assert set(found) == {"args[1]", "args[2]", "env", "env.B"}
    assert found["env"].endswith("“1A” is not such a name.")


@pytest.mark.parametrize(
    ("driver", "field"),
    [("python", "source"), ("wasm", "module"), ("command", "argv"), ("container", "image")],
)
def test_each_driver_needs_something_to_run(driver: str, field: str) -> None:
    assert problems(driver=driver)[field].startswith(f"{field}: is missing; the driver {driver} needs ")
    assert validate({"driver": driver}, content=False).driver == driver


def test_everything_wrong_is_said_at_once() -> None:
    found = problems(driver="wasm", module="AAAA", cores=-1, strategy="x", labels={"a b": "c"})
    assert set(found) == {"module", "cores", "strategy", "labels"}


def test_a_wrong_driver_is_not_made_worse_by_guesses() -> None:
    assert set(problems(driver="perl", source="x", network=True, cores=0)) == {"driver", "cores"}


@pytest.mark.parametrize("module", [MODULE, base64.b64encode(MODULE).decode()])
def test_a_module_may_be_bytes_or_base64(module: str | bytes) -> None:
    assert validate({"driver": "wasm", "module": module}).payload == MODULE


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (MODULE[:-3], "is truncated or not valid WebAssembly: "),
        (
            b"\x7fELF....",
            "must start with the bytes 00 61 73 6d of a WebAssembly module, starts with 7f 45 4c 46.",
        ),
        (b"\0asm\x0d\0\1\0", "is a WebAssembly component;"),
        ("%%%", "must be a WebAssembly module, as a file or in base64."),
        ("A" * 23_000_000, "at most 16 MiB, was 16.5 MiB."),
        ("A" * 26_000_000, "at most 16 MiB, was 18.6 MiB."),
    ],
)
def test_what_is_not_a_module_is_refused(module: str | bytes, said: str) -> None:
    given = base64.b64encode(module).decode() if isinstance(module, bytes) else module
    assert problems(driver="wasm", module=given)["module"].startswith(f"module: {said}")


def test_the_largest_specification_fits_into_a_frame() -> None:
    """Control characters take six bytes each in JSON."""
    spec = validate({**PYTHON, "args": ["\x01" * 32 * 1024], "env": {"A": "\x01" * (32 * 1024 - 1)}})
    blob = Blob(sha256="0" * 64, size=32 * 1024, inline=b"x" * 32 * 1024)
    order = Run(
        attempt=2**63 - 1, task=2**63 - 1, driver="python", timeout_s=1.0,
        payload=blob, stdin=blob, args=list(spec.args), env=spec.env,
    )  # fmt: skip
    assert len(encode_frame([order])) < MAX_FRAME_BYTES


def outcome(check: Callable[[Mapping[str, Any]], TaskSpec], given: Mapping[str, Any]) -> object:
    """The specification, or what is wrong."""
    try:
        return check(given)
    except SpecError as error:
        return sorted(wrong.message for wrong in error.errors)


A_LITTLE_DIFFERENT = st.fixed_dictionaries(
    {"source": st.sampled_from(["print(1)", "print(2)", ""])},
    optional={
        "args": st.lists(st.sampled_from(["a", "b", 1, "\x00"]), max_size=2),
        "cores": st.sampled_from([1, True, 1.0, "1", "many", 0.5]),
        "name": st.sampled_from(["one", "two", "", 2]),
        "driver": st.sampled_from(["python", "wasm", "command"]),
        "region": st.sampled_from(["eu", ""]),
        "region_required": st.booleans(),
        "labels": st.dictionaries(st.sampled_from("ab!"), st.sampled_from(["x", "y" * 201]), max_size=1),
        "unheard_of": st.just(1),
    },
)


@given(st.lists(A_LITTLE_DIFFERENT, min_size=1, max_size=6))
def test_one_after_the_other_is_judged_as_each_alone(specifications: list[dict[str, Any]]) -> None:
    one_after_the_other = Validator().validate
    for each in specifications:
        assert outcome(one_after_the_other, each) == outcome(validate, each)
