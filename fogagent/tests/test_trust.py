"""Who is let in by TLS, and who really is. Without sockets, but for the last."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogagent.overlay.certificates import VALID_FROM, VALID_UNTIL, LinkCertificate
from fogagent.overlay.link_errors import HandshakeFailed, LinkEnded, LinkError, Unreachable
from fogagent.overlay.secure import SecureChannel
from fogagent.overlay.trust import SLICE, Peer, Trust
from fogagent.tests.linked import Node, identity_of


def certificate_of(folder: Path, name: str) -> LinkCertificate:
    return LinkCertificate.load_or_create(folder / f"{name}.pem", identity_of(name))


def peer_of(certificate: LinkCertificate, address: str = "") -> Peer:
    return Peer(certificate.identity, certificate.der, address)


def trust_of(certificate: LinkCertificate, *admitted: LinkCertificate) -> Trust:
    trust = Trust(certificate)
    trust.admit(peer_of(other) for other in admitted)
    while trust.load_some():
        pass
    return trust


def signed_by_a_peer(folder: Path, authority: str, name: str) -> tuple[LinkCertificate, bytes]:
    """A certificate of ``name`` that another peer signed, as if it were an authority; and that one's own."""
    keys = {who: Ed25519PrivateKey.generate() for who in (authority, name)}
    names = {
        who: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity_of(who).hex())]) for who in keys
    }

    def certificate(who: str) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(names[who])
            .issuer_name(names[authority])
            .public_key(keys[who].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(VALID_FROM)
            .not_valid_after(VALID_UNTIL)
            .add_extension(x509.BasicConstraints(ca=who == authority, path_length=None), critical=True)
            .sign(keys[authority], algorithm=None)
        )

    path = folder / f"{name}-by-{authority}.pem"
    leaf, root = certificate(name), certificate(authority)
    private = keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
    der = leaf.public_bytes(Encoding.DER)
    return LinkCertificate(path, identity_of(name), der), root.public_bytes(Encoding.DER)


def carry(source: SecureChannel, target: SecureChannel) -> None:
    if wire := source.outgoing():
        target.receive(memoryview(wire))


def shake(dialling: SecureChannel, accepting: SecureChannel) -> tuple[bytes, bytes]:
    """The certificates that the two ends saw. Raises what either raises."""
    seen: list[bytes | None] = [None, None]
    while None in seen:
        for turn, (here, there) in enumerate([(dialling, accepting), (accepting, dialling)]):
            if seen[turn] is None:
                seen[turn] = here.shake_hands()
            carry(here, there)
    assert seen[0] is not None
    assert seen[1] is not None
    return seen[0], seen[1]


@pytest.fixture
def a(tmp_path: Path) -> LinkCertificate:
    return certificate_of(tmp_path, "a")


@pytest.fixture
def b(tmp_path: Path) -> LinkCertificate:
    return certificate_of(tmp_path, "b")


@pytest.fixture
def ends(a: LinkCertificate, b: LinkCertificate) -> tuple[SecureChannel, SecureChannel]:
    """Of a connection between a and b whose handshake is done."""
    dialling = SecureChannel(trust_of(a, b).dialling(peer_of(b)), accepting=False)
    accepting = SecureChannel(trust_of(b, a).accepting, accepting=True)
    shake(dialling, accepting)
    return dialling, accepting


def test_both_ends_see_each_others_certificates(a: LinkCertificate, b: LinkCertificate) -> None:
    dialling = SecureChannel(trust_of(a, b).dialling(peer_of(b)), accepting=False)
    accepting = SecureChannel(trust_of(b, a).accepting, accepting=True)
    assert shake(dialling, accepting) == (b.der, a.der)


def test_strangers_are_refused(a: LinkCertificate, b: LinkCertificate) -> None:
    dialling = SecureChannel(trust_of(a, b).dialling(peer_of(b)), accepting=False)
    accepting = SecureChannel(trust_of(b).accepting, accepting=True)
    with pytest.raises(HandshakeFailed, match="not in the directory"):
        shake(dialling, accepting)
    carry(accepting, dialling)
    with pytest.raises(HandshakeFailed, match="does not know this node"):
        dialling.decrypt()


def test_nobody_answers_for_another_peer(tmp_path: Path, a: LinkCertificate, b: LinkCertificate) -> None:
    c = certificate_of(tmp_path, "c")
    dialling = SecureChannel(trust_of(a, b, c).dialling(peer_of(c)), accepting=False)
    accepting = SecureChannel(trust_of(b, a).accepting, accepting=True)
    with pytest.raises(HandshakeFailed, match="not in the directory"):
        shake(dialling, accepting)


def test_what_a_peer_signed_opens_nothing(tmp_path: Path, a: LinkCertificate) -> None:
    """TLS takes an admitted certificate for an authority; the links do not."""
    forged, root = signed_by_a_peer(tmp_path, "mallory", "b")
    trust = Trust(a)
    trust.admit([Peer(identity_of("mallory"), root, ""), peer_of(certificate_of(tmp_path, "b"))])
    trust.load_some()
    dialling = SecureChannel(trust_of(forged, a).dialling(peer_of(a)), accepting=False)
    _, shown = shake(dialling, SecureChannel(trust.accepting, accepting=True))
    assert shown == forged.der, "else this tests nothing"
    assert trust.whose(shown) is None


def test_a_certificate_counts_for_whom_it_names(
    a: LinkCertificate, b: LinkCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Else whoever copies another's certificate into its own entry would be taken for it, or it for them."""
    thief = Peer(identity_of("thief"), b.der, "")
    trust = Trust(a)
    for peers in ([peer_of(b), thief], [thief, peer_of(b)]):
        trust.admit(peers)
        assert trust.whose(b.der) == peer_of(b)
        assert trust.peer(thief.identity) is None
    assert caplog.text.count(f"certificate names {b.identity.hex()}") == 1, "said once"


def test_a_forged_certificate_that_names_a_peer_is_not_that_peers(
    tmp_path: Path, a: LinkCertificate, b: LinkCertificate
) -> None:
    forged = certificate_of(tmp_path / "thief", "b")
    trust = Trust(a)
    trust.admit([peer_of(b), Peer(identity_of("thief"), forged.der, "")])
    assert forged.identity == b.identity
    assert trust.whose(forged.der) is None
    assert trust.whose(b.der) == peer_of(b)


def test_a_certificate_that_is_none_keeps_nobody_else_out(
    a: LinkCertificate, b: LinkCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Peer(identity_of("broken"), b"DER", "")
    trust = Trust(a)
    for _ in range(3):
        trust.admit([broken, peer_of(b)])
    assert trust.peer(broken.identity) is None
    assert trust.whose(b.der) == peer_of(b)
    assert caplog.text.count("its certificate names nobody") == 1, "said once"


def test_who_is_admitted_no_more_proves_nothing(a: LinkCertificate, b: LinkCertificate) -> None:
    trust = trust_of(a, b)
    trust.admit([])
    assert trust.whose(b.der) is None
    assert trust.peer(b.identity) is None


def test_anchors_are_loaded_in_slices_and_once(
    tmp_path: Path, a: LinkCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, cadata: bytes) -> None:
        loaded.append(len(cadata))
        load(context, cadata=cadata)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    peers = [peer_of(certificate_of(tmp_path, f"peer {number}")) for number in range(SLICE + 5)]
    trust = Trust(a)
    trust.admit(peers)
    assert trust.load_some()
    assert len(loaded) == SLICE
    assert not trust.load_some()
    assert len(loaded) == SLICE + 5
    trust.admit([*peers, peer_of(a)])
    assert not trust.load_some()
    assert len(loaded) == SLICE + 6


def test_what_was_said_before_the_end_is_heard(ends: tuple[SecureChannel, SecureChannel]) -> None:
    here, there = ends
    there.receive(memoryview(here.encrypt(b"last ") + here.encrypt(b"words") + here.say_goodbye()))
    assert there.decrypt() == b"last words"
    with pytest.raises(LinkEnded, match="The peer closed the link"):
        there.decrypt()


def test_what_came_before_noise_is_heard(ends: tuple[SecureChannel, SecureChannel]) -> None:
    here, there = ends
    there.receive(memoryview(here.encrypt(b"good") + b"\x17\x03\x03\x00\x20" + bytes(32)))
    assert there.decrypt() == b"good"
    with pytest.raises(LinkEnded, match="TLS ended the link: "):
        there.decrypt()


def pieces(stream: bytes, size: int) -> Iterator[memoryview]:
    for start in range(0, len(stream), size):
        yield memoryview(stream)[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000, 16_000, 300_000])
def test_any_split_of_the_wire_gives_the_same(ends: tuple[SecureChannel, SecureChannel], size: int) -> None:
    here, there = ends
    plain = bytes(range(256)) * 160
    heard = b""
    for piece in pieces(here.encrypt(plain), size):
        there.receive(piece)
        heard += there.decrypt()
    assert heard == plain
    assert there.decrypt() == b""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(min_size=1, max_size=2000))
def test_noise_raises_nothing_but_link_errors(a: LinkCertificate, noise: bytes) -> None:
    accepting = SecureChannel(trust_of(a).accepting, accepting=True)
    try:
        accepting.receive(memoryview(noise))
        assert accepting.shake_hands() is None
    except LinkError as error:
        assert error.sentence.endswith(".")


@pytest.mark.asyncio
async def test_a_link_is_with_whom_was_dialled(tmp_path: Path) -> None:
    """Not with another identity of the same owner, whose certificate the one that was dialled has signed."""
    second, root = signed_by_a_peer(tmp_path, "first", "second")
    async with Node(tmp_path, "a") as a, Node(tmp_path, "second", certificate=second) as node:
        node.links.admit([a.peer])
        a.links.admit([Peer(identity_of("first"), root, node.peer.address), node.peer])
        with pytest.raises(Unreachable, match="It is another peer"):
            await a.links.get(identity_of("first"))
        assert (await a.links.get(node.identity)).peer == node.identity
