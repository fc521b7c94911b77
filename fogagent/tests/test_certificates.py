"""The certificate of an agent on links: made once, kept to itself, and naming one identity."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fogagent.overlay.certificates import BadCertificate, LinkCertificate, named_identity

ME = bytes(range(32))


def test_is_made_once(tmp_path: Path) -> None:
    first = LinkCertificate.load_or_create(tmp_path / "new" / "link.pem", ME)
    again = LinkCertificate.load_or_create(tmp_path / "new" / "link.pem", ME)
    assert again == first
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["link.pem"], "nothing else is left"


def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    LinkCertificate.load_or_create(tmp_path / "link.pem", ME)
    assert (tmp_path / "link.pem").stat().st_mode & 0o777 == 0o600


def test_names_the_identity_and_nothing_else(tmp_path: Path) -> None:
    der = LinkCertificate.load_or_create(tmp_path / "link.pem", ME).der
    certificate = x509.load_der_x509_certificate(der)
    assert named_identity(der) == ME
    assert certificate.subject == certificate.issuer
    assert [name.value for name in certificate.subject] == [ME.hex()]
    assert [extension.oid for extension in certificate.extensions] == [x509.OID_BASIC_CONSTRAINTS]


def test_has_a_key_of_its_own_and_signs_itself_with_it(tmp_path: Path) -> None:
    der = LinkCertificate.load_or_create(tmp_path / "link.pem", ME).der
    certificate = x509.load_der_x509_certificate(der)
    key = certificate.public_key()
    assert isinstance(key, Ed25519PublicKey)
    assert key.public_bytes(Encoding.Raw, PublicFormat.Raw) != ME
    key.verify(certificate.signature, certificate.tbs_certificate_bytes)


def test_two_agents_show_the_same_dates(tmp_path: Path) -> None:
    shown = [LinkCertificate.load_or_create(tmp_path / name, ME).der for name in ("a", "b")]
    both = [x509.load_der_x509_certificate(der) for der in shown]
    dates = {(certificate.not_valid_before_utc, certificate.not_valid_after_utc) for certificate in both}
    assert len(set(shown)) == 2
    assert len(dates) == 1, "the time at which it was made would tell agents apart"


def test_fits_into_the_directory(tmp_path: Path) -> None:
    assert len(LinkCertificate.load_or_create(tmp_path / "link.pem", ME).der) < 2048


def test_another_identity_does_not_take_it_over(tmp_path: Path) -> None:
    LinkCertificate.load_or_create(tmp_path / "link.pem", ME)
    with pytest.raises(ValueError, match="remove the file to have a new one made"):
        LinkCertificate.load_or_create(tmp_path / "link.pem", bytes(32))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "link.pem"
    LinkCertificate.load_or_create(path, ME)
    whole = path.read_bytes()
    key, _, certificate = whole.partition(b"-----BEGIN CERT")
    for damaged in (b"", b"nothing", whole[:-100], key, b"-----BEGIN CERT" + certificate):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"link\.pem is not a link certificate with its key"):
            LinkCertificate.load_or_create(path, ME)
        assert path.read_bytes() == damaged, "it may be worth repairing"


@pytest.mark.parametrize("der", [b"", b"DER", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_names_nobody(der: bytes) -> None:
    with pytest.raises(BadCertificate, match="Not a link certificate"):
        named_identity(der)


def test_a_certificate_of_an_unknown_version_names_nobody(tmp_path: Path) -> None:
    der = LinkCertificate.load_or_create(tmp_path / "link.pem", ME).der
    version = b"\xa0\3\2\1"
    assert version + b"\2" in der
    with pytest.raises(BadCertificate, match="Not a link certificate: 16 is not"):
        named_identity(der.replace(version + b"\2", version + b"\x10"))


def test_a_certificate_must_name_32_bytes(tmp_path: Path) -> None:
    path = tmp_path / "link.pem"
    with pytest.raises(BadCertificate, match="no identity of 32 bytes"):
        LinkCertificate.load_or_create(path, b"short")
