"""A task from its submitter to its node and its result back, sealed; and everybody else who tries."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fogagent.identity import Identity, verify
from fogagent.messages import MAX_SEALED_BYTES, MAX_STDIN_BYTES, Outcome, Run, Sealed, Usage
from fogagent.sealing.content import new_content_key, open_bytes, seal_bytes
from fogagent.sealing.errors import (
    Altered,
    BadContent,
    Cut,
    Damaged,
    NotByNode,
    NotInDirectory,
    SealingError,
    TooLarge,
    WrongKey,
)
from fogagent.sealing.packing import BUCKETS, pack, room, unpack
from fogagent.sealing.result import PREFACE_BYTES, SIGNED, Result, open_result, seal_result
from fogagent.sealing.task import (
    ENV_NAME,
    ContentKey,
    Reservation,
    SealedSpec,
    SealedTask,
    Terms,
    check_terms,
    open_task,
    seal_task,
)
from fogagent.sealing.wrapping import RESULT, WRAPPED_BYTES, Wrap, binding, wrap_key
from fogagent.tests.directories import by_identity, relay

TERMS = Terms(driver="python", timeout_s=60, cpu_millis=250, memory_mb=128)
NODES = [Identity.generate() for _ in range(3)]
STRANGER = Identity.generate()
SUBMITTER = X25519PrivateKey.generate()
SPEC = SealedSpec(
    terms=TERMS,
    result_key=SUBMITTER.public_key().public_bytes_raw(),
    args=["--depth", "3"],
    env={"SECRET": "äther"},
    payload=b"print(input())",
    stdin=b"plain text",
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
RESERVATION = Reservation(reservation=7, nodes=[node.public_key for node in NODES])


RELAYS = by_identity(
    relay(number, identity=node.public_key, sealing_key=node.sealing_key)
    for number, node in enumerate(NODES, start=1)
)


def delivered(spec: SealedSpec, node: Identity = NODES[0]) -> tuple[bytes, Sealed]:
    """Content and key as this node gets them."""
    task = seal_task(spec)
    [wrap] = task.key.wraps(replace(RESERVATION, nodes=[node.public_key]), RELAYS)
    return task.content, arrived(wrap)


def arrived(wrap: Wrap, reservation: int = 7) -> Sealed:
    return Sealed(reservation=reservation, wrapped=wrap.wrapped)


def test_each_reserved_node_opens_the_task_and_nobody_else() -> None:
    task = seal_task(SPEC)
    wraps = task.key.wraps(RESERVATION, RELAYS)
    for wrap, node in zip(wraps, NODES, strict=True):
        assert wrap.node == node.public_key
        assert open_task(task.content, arrived(wrap), node) == SPEC
        for other in {STRANGER, *NODES} - {node}:
            with pytest.raises(WrongKey):
                open_task(task.content, arrived(wrap), other)


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        SealedSpec,
        terms=st.just(TERMS),
        result_key=st.binary(min_size=32, max_size=32).filter(any),
        image=TEXTS,
        args=st.lists(TEXTS, max_size=5),
        env=st.dictionaries(st.from_regex(ENV_NAME, fullmatch=True), TEXTS, max_size=5),
        payload=st.binary(max_size=9000),
        stdin=st.binary(max_size=9000),
    )
)
def test_every_task_arrives_as_it_was(spec: SealedSpec) -> None:
    assert open_task(*delivered(spec), NODES[0]) == spec


def test_what_the_panel_gets_shows_nothing() -> None:
    content, sealed = delivered(SPEC)
    seen = content + msgspec.json.encode(sealed)
    for inside in (b"print", b"plain text", b"SECRET", b"depth", SPEC.result_key):
        assert inside not in seen
    key = new_content_key()
    assert repr(key) not in repr(SealedTask(content, ContentKey(key, bytes(32))))


def test_a_wrap_is_worth_nothing_for_another_reservation_or_other_content() -> None:
    content, sealed = delivered(SPEC)
    with pytest.raises(WrongKey):
        open_task(content, replace(sealed, reservation=8), NODES[0])
    with pytest.raises(WrongKey):
        open_task(seal_task(SPEC).content, sealed, NODES[0])


def test_every_changed_byte_and_every_cut_of_a_task_is_refused() -> None:
    content, sealed = delivered(SPEC)
    for index in range(len(content)):
        changed = bytearray(content)
        changed[index] ^= 0x80
        with pytest.raises(SealingError):
            open_task(bytes(changed), sealed, NODES[0])
        with pytest.raises(SealingError):
            open_task(content[:index], sealed, NODES[0])


def test_a_node_that_opened_a_task_cannot_put_another_in_its_place() -> None:
    task = seal_task(SPEC)
    _, standby, _ = task.key.wraps(RESERVATION, RELAYS)
    forged = seal_bytes(b"".join(pack(SPEC, [b"print('forged')", b""])), task.key.key)
    assert open_bytes(forged, task.key.key)
    with pytest.raises(WrongKey):
        open_task(forged, arrived(standby), NODES[1])


def test_what_was_wrapped_must_fit_the_content() -> None:
    content, key = seal_task(SPEC).content, new_content_key()
    [wrap] = ContentKey(key, sha256(content).digest()).wraps(
        replace(RESERVATION, nodes=[NODES[0].public_key]), RELAYS
    )
    with pytest.raises(WrongKey, match="belongs to other content"):
        open_task(content, arrived(wrap), NODES[0])


def test_the_key_is_wrapped_again_for_the_next_reservation_without_the_content() -> None:
    task = seal_task(SPEC)
    kept = ContentKey(task.key.key, sha256(task.content).digest())
    [wrap] = kept.wraps(Reservation(reservation=8, nodes=[NODES[1].public_key]), RELAYS)
    assert open_task(task.content, arrived(wrap, 8), NODES[1]) == SPEC


def test_nothing_is_wrapped_when_one_of_the_nodes_is_not_in_the_directory() -> None:
    reservation = replace(RESERVATION, nodes=[NODES[0].public_key, STRANGER.public_key])
    with pytest.raises(NotInDirectory, match=STRANGER.public_key.hex()):
        seal_task(SPEC).key.wraps(reservation, RELAYS)


def test_a_reservation_names_at_most_two_standbys() -> None:
    four = [*RESERVATION.nodes, STRANGER.public_key]
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(replace(RESERVATION, nodes=four)), type=Reservation)


@pytest.mark.parametrize(
    "change", [{"driver": "command"}, {"network": True}, {"memory_mb": 64}, {"timeout_s": 61}], ids=str
)
def test_the_node_refuses_an_order_that_differs_from_what_was_sealed(change: dict[str, object]) -> None:
    order = Run(attempt=1, task=1, driver="python", timeout_s=60, cpu_millis=250, memory_mb=128)
    check_terms(SPEC.terms, order)
    with pytest.raises(Altered, match=next(iter(change))):
        check_terms(SPEC.terms, replace(order, **change))


BY_A_STRANGE_CLIENT = [
    ({"stdin": bytes(MAX_STDIN_BYTES + 1)}, TooLarge, "standard input has at most"),
    ({"args": ["x" * 8192] * 4 + ["x"]}, TooLarge, "arguments have at most"),
    ({"env": {"A": "é" * 16384}}, TooLarge, "environment has at most"),
    ({"env": {"A": "x\0--bind\0/\0/host"}}, BadContent, "NUL"),
    ({"args": ["sh", "-c\0"]}, BadContent, "NUL"),
    ({"env": {"A=B": "x"}}, BadContent, "'A=B' is not such a name"),
    ({"env": {"": "x"}}, BadContent, "'' is not such a name"),
]


@pytest.mark.parametrize(("change", "kind", "words"), BY_A_STRANGE_CLIENT)
def test_what_no_node_runs_is_refused_where_it_is_sealed_and_where_it_is_opened(
    change: dict[str, Any], kind: type[SealingError], words: str
) -> None:
    spec = replace(SPEC, **change)
    with pytest.raises(kind, match=words):
        seal_task(spec)
    key = new_content_key()
    head = replace(spec, payload=b"", stdin=b"")
    content = seal_bytes(b"".join(pack(head, [spec.payload, spec.stdin])), key)
    first, *_ = ContentKey(key, sha256(content).digest()).wraps(RESERVATION, RELAYS)
    with pytest.raises(BadContent, match=words):
        open_task(content, arrived(first), NODES[0])


def test_the_largest_task_fits() -> None:
    spare = 1000  # for the head
    spec = replace(
        SPEC, payload=bytes(room(MAX_SEALED_BYTES) - MAX_STDIN_BYTES - spare), stdin=bytes(MAX_STDIN_BYTES)
    )
    assert len(seal_task(spec).content) == BUCKETS[-1] == MAX_SEALED_BYTES
    with pytest.raises(TooLarge):
        seal_task(replace(spec, payload=spec.payload + bytes(spare)))


@pytest.mark.parametrize("bucket", BUCKETS)
def test_sealed_sizes_are_exactly_the_buckets(bucket: int) -> None:
    assert len(seal_bytes(bytes(room(bucket)), new_content_key())) == bucket


def test_the_size_of_a_bucket_is_used_to_its_last_byte() -> None:
    empty = len(b"".join(pack(SPEC, [])).rstrip(b"\0"))
    full = room(BUCKETS[0]) - empty - 4
    assert sum(map(len, pack(SPEC, [bytes(full)]))) == room(BUCKETS[0])
    assert sum(map(len, pack(SPEC, [bytes(full + 1)]))) == room(BUCKETS[1])


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_tasks_of_one_bucket_look_alike(one: int, other: int) -> None:
    sizes = {len(seal_task(replace(SPEC, payload=bytes(size))).content) for size in (one, other)}
    assert sizes == {BUCKETS[0]}


def test_more_than_the_largest_bucket_is_refused() -> None:
    with pytest.raises(TooLarge):
        pack(SPEC, [bytes(BUCKETS[-1])])


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", b"\0\0\0\x05{}", b"\0\0\0\x02{}\0\0\0\0", b"\xff" * 100, b"\0\0\0\x04\xff\xff{}"],
)
def test_what_opens_but_is_no_task_is_refused(content: bytes) -> None:
    with pytest.raises(BadContent):
        unpack(content, SealedSpec, parts=2)


@pytest.mark.parametrize("head", [b'{"image":"\xff"}', b'{"more":' + b"[" * 5000])
def test_a_head_that_is_no_json_is_refused(head: bytes) -> None:
    with pytest.raises(BadContent):
        unpack(len(head).to_bytes(4, "big") + head + bytes(8), SealedSpec, parts=2)


def test_a_part_that_is_shorter_than_it_says_is_refused() -> None:
    content = b"".join(pack(SPEC, [b"payload", b"stdin"])).rstrip(b"\0")
    assert unpack(content, SealedSpec, parts=2)[1] == [b"payload", b"stdin"]
    with pytest.raises(BadContent, match="shorter"):
        unpack(content[:-1], SealedSpec, parts=2)


# --- Results --------------------------------------------------------------------------------------

RESULT_OF_TASK = Result(
    outcome=Outcome.EXIT_CODE,
    exit_code=3,
    sentence="The program ended with code 3.",
    usage=Usage(wall_s=1.5, stdout_bytes=10),
    truncated=True,
    stdout=b"plain text",
    stderr=bytes(range(256)),
)
NODE = NODES[0]
VECTORS = json.loads((Path(__file__).parent / "sealing_vectors.json").read_text())


def test_the_submitter_opens_the_result_and_nobody_else() -> None:
    sealed = seal_result(RESULT_OF_TASK, SPEC.result_key, 7, NODE)
    assert open_result(sealed, SUBMITTER, 7, NODE.public_key) == RESULT_OF_TASK
    assert b"plain text" not in sealed
    with pytest.raises(WrongKey):
        open_result(sealed, X25519PrivateKey.generate(), 7, NODE.public_key)


def test_a_result_belongs_to_the_node_and_the_reservation_that_it_was_made_for() -> None:
    sealed = seal_result(RESULT_OF_TASK, SPEC.result_key, 7, NODE)
    with pytest.raises(NotByNode, match=NODES[1].public_key.hex()):
        open_result(sealed, SUBMITTER, 7, NODES[1].public_key)
    with pytest.raises(NotByNode):
        open_result(sealed, SUBMITTER, 8, NODE.public_key)


def test_no_other_node_that_knows_the_task_makes_a_result_in_this_ones_name() -> None:
    content, key = sealed_result_content()
    bound = binding(7, NODE.public_key, sha256(content).digest())
    wrapped = wrap_key(key, SPEC.result_key, RESULT + bound)
    signed = wrapped + NODE.sign(SIGNED, bound) + content
    assert open_result(signed, SUBMITTER, 7, NODE.public_key) == RESULT_OF_TASK
    for signature in (NODES[1].sign(SIGNED, bound), NODE.sign(b"other purpose\0", bound), bytes(64)):
        with pytest.raises(NotByNode):
            open_result(wrapped + signature + content, SUBMITTER, 7, NODE.public_key)


def test_a_result_is_proof_to_others_without_the_submitters_key() -> None:
    sealed = seal_result(RESULT_OF_TASK, SPEC.result_key, 7, NODE)
    signature, content = sealed[WRAPPED_BYTES:PREFACE_BYTES], sealed[PREFACE_BYTES:]
    verify(NODE.public_key, SIGNED, binding(7, NODE.public_key, sha256(content).digest()), signature)


def test_the_signature_stays_what_was_published() -> None:
    facts = VECTORS["signed"]
    given = {name: bytes.fromhex(value) for name, value in facts.items() if isinstance(value, str)}
    node = Identity(Ed25519PrivateKey.from_private_bytes(given["private_key"]), SUBMITTER)
    assert node.public_key == given["node"]
    text = binding(facts["reservation"], node.public_key, given["content_sha256"])
    assert SIGNED + text == given["text"]
    assert node.sign(SIGNED, text) == given["signature"]


@settings(deadline=None)
@given(st.binary(max_size=9000), st.binary(max_size=9000))
def test_every_result_arrives_as_it_was(stdout: bytes, stderr: bytes) -> None:
    result = Result(outcome=Outcome.SUCCEEDED, exit_code=0, stdout=stdout, stderr=stderr)
    sealed = seal_result(result, SPEC.result_key, 7, NODE)
    assert open_result(sealed, SUBMITTER, 7, NODE.public_key) == result
    assert len(sealed) - PREFACE_BYTES in BUCKETS


@pytest.mark.parametrize("length", [0, WRAPPED_BYTES, PREFACE_BYTES - 1])
def test_a_cut_result_is_called_one(length: int) -> None:
    sealed = seal_result(RESULT_OF_TASK, SPEC.result_key, 7, NODE)
    with pytest.raises(Cut):
        open_result(sealed[:length], SUBMITTER, 7, NODE.public_key)


def test_every_changed_byte_and_every_cut_of_a_result_is_refused() -> None:
    sealed = seal_result(RESULT_OF_TASK, SPEC.result_key, 7, NODE)
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 0x80
        with pytest.raises(SealingError):
            open_result(bytes(changed), SUBMITTER, 7, NODE.public_key)
        with pytest.raises(Damaged):
            open_result(sealed[:index], SUBMITTER, 7, NODE.public_key)


def test_a_task_cannot_be_passed_off_as_a_result() -> None:
    task = seal_task(SPEC)
    [wrap] = task.key.wraps(replace(RESERVATION, nodes=[NODE.public_key]), RELAYS)
    signature = NODE.sign(SIGNED, binding(7, NODE.public_key, task.key.content_sha256))
    with pytest.raises(WrongKey):
        open_result(wrap.wrapped + signature + task.content, NODE.sealing, 7, NODE.public_key)


def test_what_was_sealed_as_a_result_must_be_one() -> None:
    key = new_content_key()
    content = seal_bytes(b"\0\0\0\x02{}" + bytes(20), key)
    bound = binding(7, NODE.public_key, sha256(content).digest())
    sealed = wrap_key(key, SPEC.result_key, RESULT + bound) + NODE.sign(SIGNED, bound) + content
    with pytest.raises(BadContent, match="outcome"):
        open_result(sealed, SUBMITTER, 7, NODE.public_key)


@pytest.mark.parametrize("unusable", [bytes(32), b"\1" + bytes(31)], ids=["zero", "one"])
def test_a_task_whose_result_nobody_could_read_is_refused_before_it_runs(unusable: bytes) -> None:
    with pytest.raises(BadContent, match="result can be sealed"):
        open_task(*delivered(replace(SPEC, result_key=unusable)), NODES[0])


def test_a_node_is_told_when_nothing_can_be_sealed_for_the_submitter() -> None:
    with pytest.raises(WrongKey):
        seal_result(RESULT_OF_TASK, bytes(32), 7, NODE)


def sealed_result_content() -> tuple[bytes, bytes]:
    key = new_content_key()
    head = replace(RESULT_OF_TASK, stdout=b"", stderr=b"")
    return seal_bytes(b"".join(pack(head, [RESULT_OF_TASK.stdout, RESULT_OF_TASK.stderr])), key), key
