"""What a link certificate must be for the panel to pass it on."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm


def certificate_problem(der: bytes) -> str:
    """What is wrong with this certificate, as a sentence that names the field; empty if nothing.

    It is pinned, so who issued it, to whom and for how long says nothing; that it signs itself shows that
    whoever made it held its key.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        return "certificate: must be signed by its own key."
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        return f"certificate: must be a self-signed X.509 certificate in DER ({error})."
    return ""
