"""TLS over memory: what comes out of it, and when the end of it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from fogagent.overlay.certificates import LinkCertificate
from fogagent.overlay.link_errors import LinkEnded
from fogagent.overlay.secure import RECORD_BYTES, SecureChannel
from fogagent.overlay.trust import Peer, Trust
from fogagent.tests.linked import identity_of


@pytest.fixture
def ends(tmp_path: Path) -> tuple[SecureChannel, SecureChannel]:
    """Both ends of a connection whose handshake is done."""
    names = ("anna", "ben")
    certificates = [LinkCertificate.load_or_create(tmp_path / name, identity_of(name)) for name in names]
    anna, ben = (
        Peer(identity_of(name), certificate.der, "")
        for name, certificate in zip(names, certificates, strict=True)
    )
    accepting = Trust(certificates[1])
    accepting.admit([anna])
    accepting.load_some()
    dialler = SecureChannel(Trust(certificates[0]).dialling(ben), accepting=False)
    accepter = SecureChannel(accepting.accepting, accepting=True)
    dialler.shake_hands()
    for one, other in [(dialler, accepter), (accepter, dialler), (dialler, accepter)]:
        other.receive(memoryview(one.outgoing()))
        other.shake_hands()
    return dialler, accepter


def test_all_that_came_is_read_at_once(ends: tuple[SecureChannel, SecureChannel]) -> None:
    anna, ben = ends
    plain = bytes(range(256)) * (3 * RECORD_BYTES // 256) + b"and less than a record"
    ben.receive(memoryview(anna.encrypt(plain)))
    assert ben.decrypt() == plain
    assert ben.decrypt() == b""


def test_a_record_is_read_once_it_is_whole(ends: tuple[SecureChannel, SecureChannel]) -> None:
    anna, ben = ends
    wire = anna.encrypt(b"first") + anna.encrypt(b"second")
    read = []
    for at in range(len(wire)):
        ben.receive(memoryview(wire)[at : at + 1])
        read.append(ben.decrypt())
    assert list(filter(None, read)) == [b"first", b"second"]


def test_the_end_comes_after_what_was_said_before_it(ends: tuple[SecureChannel, SecureChannel]) -> None:
    anna, ben = ends
    ben.receive(memoryview(anna.encrypt(b"last words") + anna.say_goodbye()))
    assert ben.decrypt() == b"last words"
    with pytest.raises(LinkEnded, match=r"^The peer closed the link"):
        ben.decrypt()


def test_what_came_before_a_forgery_still_counts(ends: tuple[SecureChannel, SecureChannel]) -> None:
    anna, ben = ends
    good, forged = anna.encrypt(b"good"), bytearray(anna.encrypt(b"bad"))
    forged[-1] ^= 1
    ben.receive(memoryview(good + forged))
    assert ben.decrypt() == b"good"
    with pytest.raises(LinkEnded, match=r"^TLS ended the link"):
        ben.decrypt()
