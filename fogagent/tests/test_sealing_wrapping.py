"""Wrapped content keys: the published suite, and worth nothing for anything but what they were made for."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fogagent.sealing.content import new_content_key
from fogagent.sealing.errors import BadContent, WrongKey
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
CONTENT, OTHER_CONTENT = sha256(b"content").digest(), sha256(b"other content").digest()
INFO = TASK + binding(7, NODE, CONTENT)


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
    node, content = bytes.fromhex(facts["node"]), bytes.fromhex(facts["content_sha256"])
    info = purpose + binding(facts["reservation"], node, content)
    assert info.hex() == example["info"]
    key = X25519PrivateKey.from_private_bytes(bytes.fromhex(facts["private_key"]))
    assert unwrap_key(bytes.fromhex(example["wrapped"]), key, info).hex() == facts["key"]


def test_a_wrap_opens_for_what_it_was_made_for_and_nothing_else() -> None:
    receiver = X25519PrivateKey.generate()
    wrapped = wrap_key(KEY, public(receiver), INFO)
    assert len(wrapped) == WRAPPED_BYTES
    assert unwrap_key(wrapped, receiver, INFO) == KEY
    for info in (
        RESULT + binding(7, NODE, CONTENT),
        TASK + binding(8, NODE, CONTENT),
        TASK + binding(7, OTHER_NODE, CONTENT),
        TASK + binding(7, NODE, OTHER_CONTENT),
    ):
        with pytest.raises(WrongKey):
            unwrap_key(wrapped, receiver, info)
    with pytest.raises(WrongKey):
        unwrap_key(wrapped, X25519PrivateKey.generate(), INFO)


def test_every_changed_bit_and_every_cut_of_a_wrap_is_refused() -> None:
    receiver = X25519PrivateKey.generate()
    wrapped = wrap_key(KEY, public(receiver), INFO)
    for bit in range(8 * len(wrapped)):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WrongKey):
            unwrap_key(bytes(changed), receiver, INFO)
    for length in range(len(wrapped)):
        with pytest.raises(WrongKey):
            unwrap_key(wrapped[:length], receiver, INFO)


@pytest.mark.parametrize("unusable", [bytes(32), b"\1" + bytes(31), b"", bytes(31)], ids=len)
def test_nothing_is_wrapped_for_a_key_with_which_everybody_shares_the_same_secret(unusable: bytes) -> None:
    with pytest.raises(WrongKey, match="can be sealed for"):
        wrap_key(KEY, unusable, INFO)


def test_what_was_wrapped_must_be_a_content_key() -> None:
    receiver = X25519PrivateKey.generate()
    with pytest.raises(BadContent, match="16 bytes"):
        unwrap_key(wrap_key(bytes(16), public(receiver), INFO), receiver, INFO)


def test_a_binding_has_a_node_and_a_hash_of_the_right_size() -> None:
    assert len(binding(7, NODE, CONTENT)) == 72
    with pytest.raises(ValueError, match="identity"):
        binding(7, b"short", CONTENT)
    with pytest.raises(ValueError, match="hash"):
        binding(7, NODE, CONTENT[:-1])
