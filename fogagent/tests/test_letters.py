"""Letters: read by whom they are for, and worth nothing to anybody else or in any other form."""

from __future__ import annotations

import struct
from math import inf, nan

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from msgspec.structs import replace

from fogagent.identity import Identity
from fogagent.messages import MAX_LETTER_BYTES, MAX_SEALED_BYTES, Blob, Run
from fogagent.overlay.letters import SEAL, SIGN, STEP_BYTES, BadLetter, read, write
from fogagent.sealing.wrapping import SUITE
from fogagent.tests.letters import CONTENT, NODE, NOW, OTHER, PANEL, blob, sealed_run

RUN = sealed_run()


def letter(run: Run = RUN, *, to: Identity = NODE, by: Identity = PANEL, until: float = NOW + 60) -> bytes:
    return write(by, to.public_key, to.sealing_key, run, until)


def opened(made: bytes, reader: Identity = NODE) -> bytes:
    return SUITE.decrypt(made, reader.sealing, SEAL + reader.public_key)


def sealed(text: bytes, to: Identity = NODE) -> bytes:
    """Whatever text, as anybody can seal it."""
    return SUITE.encrypt(text, X25519PublicKey.from_public_bytes(to.sealing_key), SEAL + to.public_key)


def saying(encoded: bytes) -> bytes:
    """A letter of the panel that holds just this in place of an order."""
    signed = struct.pack(">d", NOW + 60) + encoded
    return sealed(PANEL.sign(SIGN, NODE.public_key + signed) + signed)


def refusal(made: bytes, now: float = NOW, panel_key: bytes = PANEL.public_key) -> str:
    with pytest.raises(BadLetter) as caught:
        read(made, NODE, panel_key, now)
    return str(caught.value)


def test_a_letter_is_read_by_whom_it_is_for() -> None:
    assert read(letter(), NODE, PANEL.public_key, NOW) == RUN


def test_two_letters_of_one_order_have_nothing_in_common() -> None:
    assert letter()[:32] != letter()[:32]


def test_the_number_of_the_order_and_inline_content_stay_with_whoever_carries_it() -> None:
    made = letter(replace(RUN, order=9, payload=blob(CONTENT, inline=True)))
    assert read(made, NODE, PANEL.public_key, NOW) == RUN
    assert CONTENT not in opened(made)


def test_a_letter_does_not_show_by_its_size_what_it_orders() -> None:
    large = sealed_run(2**63 - 1, driver="container", timeout_s=86_400.25, memory_mb=65_536, network=True)
    small = sealed_run(1, driver="wasm", timeout_s=1)
    assert len(letter(large)) == len(letter(small)) == STEP_BYTES + 48
    assert len(letter(sealed_run(driver="x" * 200, args=["y" * 2000]))) == 3 * STEP_BYTES + 48


def test_it_is_for_no_other_node() -> None:
    made = letter(to=OTHER)
    assert "for another node" in refusal(made)
    assert "not for this node" in refusal(sealed(opened(made, OTHER))), "sealed anew by whom it was for"


def test_only_our_panel_writes_letters() -> None:
    assert "not written by this node's panel" in refusal(letter(by=OTHER))
    assert "not written by this node's panel" in refusal(letter(), panel_key=OTHER.public_key)
    signed = opened(letter())[64:]
    for purpose in (b"", b"fogpanel directory v1\0"):
        elsewhere = PANEL.sign(purpose, NODE.public_key + signed)
        assert "not written by this node's panel" in refusal(sealed(elsewhere + signed)), purpose


def test_it_expires() -> None:
    assert read(letter(until=NOW), NODE, PANEL.public_key, NOW - 0.001) == RUN
    assert "expired 0 s ago" in refusal(letter(until=NOW))
    assert "expired 90 s ago" in refusal(letter(until=NOW - 90))
    assert "expired" in refusal(letter(until=nan))
    assert "expired" in refusal(letter(until=-inf))


def test_nobody_makes_it_good_for_longer() -> None:
    text = opened(letter(until=NOW - 1))
    later = text[:64] + struct.pack(">d", NOW + 60) + text[72:]
    assert "not written by this node's panel" in refusal(sealed(later))


def test_every_changed_byte_and_every_cut_is_refused() -> None:
    made = letter()
    for at in range(len(made)):
        changed = bytearray(made)
        changed[at] ^= 0x40
        assert refusal(bytes(changed))
        assert refusal(made[:at])
    assert refusal(made + b" ")


def test_a_letter_has_a_greatest_size() -> None:
    with pytest.raises(BadLetter, match="has at most"):
        letter(sealed_run(args=["x" * 1000] * 100))
    assert "this one 65537" in refusal(bytes(MAX_LETTER_BYTES + 1))
    assert "does not open" in refusal(bytes(MAX_LETTER_BYTES))


@pytest.mark.parametrize("unusable", [bytes(32), b"\1" + bytes(31), b"", bytes(31)], ids=len)
def test_nothing_is_written_for_a_key_with_which_everybody_shares_the_same_secret(unusable: bytes) -> None:
    with pytest.raises(BadLetter, match="can be sealed for"):
        write(PANEL, NODE.public_key, unusable, RUN, NOW)
    made = letter()
    assert "does not open" in refusal(unusable.ljust(32, b"\0") + made[32:])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sealed": None}, "sealed tasks only"),
        ({"payload": None}, "name its sealed content"),
        ({"stdin": blob(b"in")}, "and no other"),
        ({"payload": Blob(sha256="a" * 64, size=MAX_SEALED_BYTES + 1)}, "Sealed content has at most"),
    ],
)
def test_what_is_no_order_for_a_letter_is_neither_written_nor_followed(
    changes: dict[str, object], says: str
) -> None:
    run = replace(RUN, **changes)
    with pytest.raises(BadLetter, match=says):
        letter(run)
    assert says in refusal(saying(msgspec.json.encode(run)))


@pytest.mark.parametrize(
    "encoded",
    [b"", b"{}", b"[]", b'{"type":"cancel","attempt":5}', b'{"type":"run\xff"}', b'{"more":' + b"[" * 2000],
)
def test_what_is_no_order_at_all_is_not_followed(encoded: bytes) -> None:
    assert "holds no order to run" in refusal(saying(encoded))
