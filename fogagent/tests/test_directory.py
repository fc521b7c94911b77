"""The relay directory: what is signed, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fogagent.overlay import directory
from fogagent.overlay.directory import (
    GRACE_S,
    MAX_NETWORKS,
    BadDirectory,
    Changes,
    Directory,
    Refusal,
    Relay,
    _encoding,
    apply,
    decode_changes,
    digest,
    encode_changes,
    reopen,
    sign,
)
from fogagent.tests.directories import LIFETIME_S, MADE, PANEL, PANEL_KEY, by_identity, relay, signed

NOW = MADE + 60.0
THREE = by_identity([relay(1), relay(2), relay(3)])
FOUR = by_identity([relay(1, region="eu"), relay(3), relay(4), relay(5, address="", flags=[])])


def refusal(held: Directory | None, changes: Changes, now: float = NOW) -> Refusal:
    with pytest.raises(BadDirectory) as caught:
        apply(held, changes, PANEL_KEY, now)
    assert caught.value.sentence == str(caught.value)
    assert caught.value.sentence.endswith(".")
    return caught.value.reason


def held() -> Directory:
    return apply(None, signed(THREE, 7), PANEL_KEY, NOW)


def to_four() -> Changes:
    return signed(FOUR, 9, base=7, before=THREE)


def test_the_whole_and_then_what_changed() -> None:
    first = held()
    assert (first.version, first.made_at, first.expires_at) == (7, MADE, MADE + LIFETIME_S)
    assert first.relays == THREE
    second = apply(first, to_four(), PANEL_KEY, NOW)
    assert (second.version, second.relays) == (9, FOUR)
    assert list(second.relays) == sorted(FOUR)
    assert first.relays == THREE  # what somebody still uses is left alone


def test_the_whole_is_taken_whatever_is_held() -> None:
    assert apply(held(), signed(FOUR, 9), PANEL_KEY, NOW).relays == FOUR


def test_a_removed_relay_that_was_not_held_does_no_harm() -> None:
    changes = msgspec.structs.replace(to_four(), removed=[relay(2).identity, relay(6).identity])
    assert apply(held(), changes, PANEL_KEY, NOW).relays == FOUR


def test_an_empty_directory_is_one() -> None:
    assert apply(None, signed({}, 1), PANEL_KEY, NOW).relays == {}


# --- The encoding ----------------------------------------------------------------------------------


def test_the_encoding_is_as_described() -> None:
    one = Relay(
        node=258,
        name="kü",
        identity=b"I" * 32,
        onion_key=b"O" * 32,
        sealing_key=b"S" * 32,
        certificate=b"DER",
        address="[::1]:9000",
        family="f",
        region="eu",
        flags=["relay", "exit"],
        bandwidth_kbps=3,
    )
    other = msgspec.structs.replace(one, identity=b"A" * 32)
    rest = (
        b"O" * 32
        + b"S" * 32
        + b"\0\0\0\0\0\0\1\2"
        + b"\0\0\0\0\0\0\0\3"
        + b"\0\3\0\x0a\0\1\0\2\0\x0a\0\3"
        + b"k\xc3\xbc[::1]:9000feurelay,exitDER"
    )
    expected = sha256(b"A" * 32 + rest + b"I" * 32 + rest).digest()
    assert digest(by_identity([one, other])) == digest(by_identity([other, one])) == expected


def test_networks_follow_the_flags_within_their_text() -> None:
    bare = relay(1, flags=["relay"])
    with_them = msgspec.structs.replace(bare, networks=["192.0.0.0/16", "2001:0db8::/32"])
    before, after = _encoding(bare), _encoding(with_them)
    assert after.endswith(b"relay;192.0.0.0/16,2001:0db8::/32" + bare.certificate)
    assert len(after) - len(before) == len(";192.0.0.0/16,2001:0db8::/32")


def test_a_relay_claims_few_networks() -> None:
    networks = [f"10.{number}.0.0/16" for number in range(MAX_NETWORKS + 1)]
    assert refusal(None, signed(by_identity([relay(1, networks=networks)]), 1)) is Refusal.MALFORMED


def test_the_signed_text_is_as_described() -> None:
    signature = sign(PANEL, version=258, made_at=1.0, expires_at=-2.0, digest=b"D" * 32)
    text = b"fogpanel directory v1\0\0\0\0\0\0\0\1\2\x3f\xf0\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0" + b"D" * 32
    PANEL.public_key().verify(signature, text)


OTHER_VALUES: dict[str, Any] = {
    "node": 77,
    "name": "other",
    "identity": b"i" * 32,
    "onion_key": b"o" * 32,
    "sealing_key": b"s" * 32,
    "certificate": b"other",
    "address": "192.0.2.99:1",
    "family": "other",
    "region": "other",
    "flags": ["relay"],
    "bandwidth_kbps": 1,
    "networks": ["192.0.0.0/16"],
}


@pytest.mark.parametrize("field", Relay.__struct_fields__)
def test_no_field_of_a_relay_can_be_changed(field: str) -> None:
    for number, original in enumerate(to_four().upserts):
        forged = list(to_four().upserts)
        forged[number] = msgspec.structs.replace(original, **{field: OTHER_VALUES[field]})
        changes = msgspec.structs.replace(to_four(), upserts=forged)
        assert refusal(held(), changes) == Refusal.WRONG_DIGEST


def test_texts_of_a_relay_cannot_trade_characters() -> None:
    one, other = relay(1, family="ab", region="c"), relay(1, family="a", region="bc")
    assert digest(by_identity([one])) != digest(by_identity([other]))


# --- What is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("base", 6, Refusal.WRONG_BASE),
        ("base", 0, Refusal.WRONG_DIGEST),
        ("version", 10, Refusal.FORGED),
        ("made_at", MADE + 1, Refusal.FORGED),
        ("expires_at", MADE + LIFETIME_S + 1, Refusal.FORGED),
        ("digest", b"d" * 32, Refusal.FORGED),
        ("signature", b"s" * 64, Refusal.FORGED),
        ("upserts", [], Refusal.WRONG_DIGEST),
        ("removed", [], Refusal.WRONG_DIGEST),
        ("removed", [relay(2).identity, relay(4).identity], Refusal.MALFORMED),
    ],
)
def test_no_field_of_changes_can_be_changed(field: str, value: object, reason: Refusal) -> None:
    assert refusal(held(), msgspec.structs.replace(to_four(), **{field: value})) == reason


def test_every_bit_of_an_answer_counts() -> None:
    """Wherever one bit of an answer is turned over, the answer is refused or says the same."""
    encoded = bytearray(encode_changes(to_four()))
    for place in range(len(encoded)):
        encoded[place] ^= 1 << place % 8
        try:
            result = apply(held(), decode_changes(bytes(encoded)), PANEL_KEY, NOW)
        except BadDirectory:
            pass
        else:
            assert (result.version, result.relays) == (9, FOUR)
        encoded[place] ^= 1 << place % 8


def test_another_panels_signature_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    whole = signed(THREE, 7)
    signature = sign(key, version=7, made_at=MADE, expires_at=MADE + LIFETIME_S, digest=whole.digest)
    assert refusal(None, msgspec.structs.replace(whole, signature=signature)) == Refusal.FORGED


def test_a_signature_for_another_purpose_is_refused() -> None:
    whole = signed(THREE, 7)
    text = directory._SIGNED.pack(whole.version, whole.made_at, whole.expires_at, whole.digest)
    changes = msgspec.structs.replace(whole, signature=PANEL.sign(b"fogpanel panel welcome v1\0" + text))
    assert refusal(None, changes) == Refusal.FORGED


def test_what_is_not_newer_is_refused() -> None:
    new = apply(held(), to_four(), PANEL_KEY, NOW)
    assert refusal(new, signed(THREE, 8)) == Refusal.NOT_NEWER  # a rollback
    assert refusal(new, to_four()) == Refusal.NOT_NEWER  # the same answer once more
    assert refusal(new, signed(FOUR, 9)) == Refusal.NOT_NEWER


def test_what_expired_is_refused_from_that_moment_on() -> None:
    whole = signed(THREE, 7)
    assert apply(None, whole, PANEL_KEY, MADE + LIFETIME_S - 1).version == 7
    assert refusal(None, whole, MADE + LIFETIME_S) == Refusal.EXPIRED


def test_changes_to_something_else_are_refused() -> None:
    assert refusal(None, to_four()) == Refusal.WRONG_BASE
    assert refusal(apply(None, signed(THREE, 8), PANEL_KEY, NOW), to_four()) == Refusal.WRONG_BASE


@pytest.mark.parametrize(
    "fields",
    [
        {"identity": b"short"},
        {"onion_key": b"k" * 33},
        {"sealing_key": b""},
        {"certificate": b"c" * 2049},
        {"certificate": b""},
        {"node": 0},
        {"bandwidth_kbps": -1},
        {"name": "n" * 201},
        {"address": "no port"},
        {"address": "host:0"},
        {"address": "host:9000\n"},
        {"address": "::1:9000"},
        {"flags": ["a,b"]},
        {"flags": ["relay"] * 17},
    ],
)
def test_a_malformed_relay_is_refused_decoded_or_not(fields: dict[str, object]) -> None:
    changes = msgspec.structs.replace(signed({}, 7), upserts=[relay(1, **fields)])
    assert refusal(None, changes) == Refusal.MALFORMED
    with pytest.raises(BadDirectory) as caught:
        decode_changes(encode_changes(changes))
    assert caught.value.reason == Refusal.MALFORMED


@pytest.mark.parametrize("address", ["", "host:9000", "198.51.100.7:1", "[2001:db8::1]:65535"])
def test_addresses_of_every_kind_are_taken(address: str) -> None:
    relays = by_identity([relay(1, address=address)])
    assert apply(None, decode_changes(encode_changes(signed(relays, 1))), PANEL_KEY, NOW).relays == relays


def test_a_relay_named_twice_is_refused() -> None:
    twice = msgspec.structs.replace(signed(THREE, 7), upserts=[*THREE.values(), relay(1, region="eu")])
    assert refusal(None, twice) == Refusal.MALFORMED


@pytest.mark.parametrize("times", [(MADE, MADE - 1), (MADE, math.nan), (math.nan, MADE)])
def test_times_that_make_no_sense_are_refused(times: tuple[float, float]) -> None:
    changes = signed(THREE, 7, made_at=times[0], expires_at=times[1])
    assert refusal(None, changes) == Refusal.MALFORMED


def test_too_many_relays_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_RELAYS", 3)
    assert apply(None, signed(THREE, 7), PANEL_KEY, NOW).relays == THREE
    assert refusal(None, signed(FOUR, 9)) == Refusal.TOO_MANY
    assert refusal(held(), to_four()) == Refusal.TOO_MANY


NESTED = b"\x81\xa4more" + b"\x91" * 5000


@pytest.mark.parametrize("encoded", [b"", b"\xc1", b"\x80", NESTED, encode_changes(signed(THREE, 7))[:-1]])
def test_what_is_no_changes_is_malformed(encoded: bytes) -> None:
    with pytest.raises(BadDirectory) as caught:
        decode_changes(encoded)
    assert caught.value.reason == Refusal.MALFORMED


# --- From an earlier run ---------------------------------------------------------------------------


def test_a_kept_directory_is_opened_again_however_old() -> None:
    opened = reopen(signed(THREE, 7, made_at=0.0, expires_at=1.0), PANEL_KEY)
    assert opened.relays == THREE
    assert not opened.is_expired(0.5)
    assert opened.is_expired(1.0) and not opened.is_gone(GRACE_S)
    assert opened.is_gone(1.0 + GRACE_S)


def test_a_kept_directory_is_verified_like_any_other() -> None:
    with pytest.raises(BadDirectory):
        reopen(msgspec.structs.replace(signed(THREE, 7), upserts=[relay(1)]), PANEL_KEY)
    with pytest.raises(BadDirectory):
        reopen(signed(THREE, 7), Ed25519PrivateKey.generate().public_key().public_bytes_raw())


# --- Any history -----------------------------------------------------------------------------------

some_relays = st.dictionaries(st.integers(1, 8), st.sampled_from(["", "eu", "us"]), max_size=8).map(
    lambda regions: by_identity(relay(number, region=region) for number, region in regions.items())
)


@given(st.lists(some_relays, min_size=1, max_size=8), st.data())
def test_changes_in_order_give_the_same_as_the_whole(
    history: list[Mapping[bytes, Relay]], data: st.DataObject
) -> None:
    """Also for whoever missed some versions, and got the changes of several at once."""
    now_held: Directory | None = None
    before: Mapping[bytes, Relay] = {}
    for version, relays in enumerate(history, start=1):
        if version < len(history) and data.draw(st.booleans(), label="missed"):
            continue
        base = now_held.version if now_held else 0
        changes = decode_changes(encode_changes(signed(relays, version, base=base, before=before)))
        now_held, before = apply(now_held, changes, PANEL_KEY, NOW), relays
    assert now_held == apply(None, signed(history[-1], len(history)), PANEL_KEY, NOW)
