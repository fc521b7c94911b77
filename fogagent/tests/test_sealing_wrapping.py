"""Wrapped content keys: the published suite, and worth nothing for anything but what they were made for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fogagent.sealing.content import HEADER_BYTES, new_content_key, seal_bytes
from fogagent.sealing.errors import BadContent, Damaged, WrongKey
from fogagent.sealing.wrapping import (
    RESULT,
    SUITE,
    TASK,
    WRAPPED_BYTES,
    binding,
    unwrap_key,
    wrap_key,
)

VECTORS = json.loads((Path(__file__).parent / "sealing_vectors.json").read_text())
NODE, OTHER_NODE = bytes(range(32)), bytes(range(1, 33))
KEY = new_content_key()
SEALED = seal_bytes(b"content", KEY)


def public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def test_the_suite_is_that_of_the_rfc() -> None:
    facts = VECTORS["rfc9180"]
    given = {name: bytes.fromhex(value) for name, value in facts.items() if isinstance(value, str)}
    cipher = AESGCM(given["key"])
    assert cipher.encrypt(given["base_nonce"], given["pt"], given["aad"]) == given["ct"]
    # The published encryptions have an aad, ours have none: the published key makes one without.
    sealed = given["enc"] + cipher.encrypt(given["base_nonce"], given["pt"], None)
    receiver = X25519PrivateKey.from_private_bytes(given["skRm"])
    assert public(receiver) == given["pkRm"]
    assert SUITE.decrypt(sealed, receiver, given["info"]) == given["pt"]


@pytest.mark.parametrize("example", VECTORS["wrapped"]["examples"], ids=lambda example: example["purpose"])
def test_the_format_stays_what_was_published(example: dict[str, str]) -> None:
    facts = VECTORS["wrapped"]
    purpose = {"task": TASK, "result": RESULT}[example["purpose"]]
    node, header = bytes.fromhex(facts["node"]), bytes.fromhex(facts["header"])
    info = binding(purpose, facts["reservation"], node, header)
    assert info.hex() == example["info"]
    key = X25519PrivateKey.from_private_bytes(bytes.fromhex(facts["private_key"]))
    assert unwrap_key(bytes.fromhex(example["wrapped"]), key, info).hex() == facts["key"]


def test_a_wrap_opens_for_what_it_was_made_for_and_nothing_else() -> None:
    receiver = X25519PrivateKey.generate()
    wrapped = wrap_key(KEY, public(receiver), binding(TASK, 7, NODE, SEALED))
    assert len(wrapped) == WRAPPED_BYTES
    assert unwrap_key(wrapped, receiver, binding(TASK, 7, NODE, SEALED[:HEADER_BYTES])) == KEY
    for info in (
        binding(RESULT, 7, NODE, SEALED),
        binding(TASK, 8, NODE, SEALED),
        binding(TASK, 7, OTHER_NODE, SEALED),
        binding(TASK, 7, NODE, seal_bytes(b"content", KEY)),
    ):
        with pytest.raises(WrongKey):
            unwrap_key(wrapped, receiver, info)
    with pytest.raises(WrongKey):
        unwrap_key(wrapped, X25519PrivateKey.generate(), binding(TASK, 7, NODE, SEALED))


def test_every_changed_bit_and_every_cut_of_a_wrap_is_refused() -> None:
    receiver, info = X25519PrivateKey.generate(), binding(TASK, 7, NODE, SEALED)
    wrapped = wrap_key(KEY, public(receiver), info)
    for bit in range(8 * len(wrapped)):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WrongKey):
            unwrap_key(bytes(changed), receiver, info)
    for length in range(len(wrapped)):
        with pytest.raises(WrongKey):
            unwrap_key(wrapped[:length], receiver, info)


@pytest.mark.parametrize("unusable", [bytes(32), b"\1" + bytes(31), b"", bytes(31)], ids=len)
def test_nothing_is_wrapped_for_a_key_with_which_everybody_shares_the_same_secret(unusable: bytes) -> None:
    with pytest.raises(WrongKey, match="can be sealed for"):
        wrap_key(KEY, unusable, binding(TASK, 7, NODE, SEALED))


def test_what_was_wrapped_must_be_a_content_key() -> None:
    receiver, info = X25519PrivateKey.generate(), binding(TASK, 7, NODE, SEALED)
    with pytest.raises(BadContent, match="16 bytes"):
        unwrap_key(wrap_key(bytes(16), public(receiver), info), receiver, info)


def test_nothing_is_bound_to_what_is_not_sealed_content() -> None:
    with pytest.raises(Damaged):
        binding(TASK, 7, NODE, b"#!/bin/sh\n" * 20)
    with pytest.raises(ValueError, match="identity"):
        binding(TASK, 7, b"short", SEALED)
