"""The panel's address: what may be spoken to, and where its socket is."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit


class BadAddress(Exception):
    """The URL cannot be used. ``str`` names the rule and what to do."""


@dataclass(frozen=True)
class PanelAddress:
    """``base`` has no trailing slash."""

    base: str
    socket: str
    loopback: bool

    @classmethod
    def parse(cls, url: str, *, insecure: bool) -> PanelAddress:
        """Read the URL of a panel.

        Raises:
            BadAddress: not http(s), no host, or plain HTTP beyond this machine without ``insecure``.
        """
        parts = urlsplit(url if "://" in url else f"https://{url}")
        try:
            host, _ = parts.hostname, parts.port  # reading the port checks it
        except ValueError as error:
            raise BadAddress(f"{url}: {error}.") from error
        if parts.scheme not in ("http", "https") or not host:
            raise BadAddress(f"{url}: must look like https://panel.example or http://127.0.0.1:8000.")
        if parts.query or parts.fragment or parts.username:
            raise BadAddress(f"{url}: must be a plain address, without user, query or fragment.")
        loopback = is_loopback(host)
        if parts.scheme == "http" and not loopback and not insecure:
            raise BadAddress(
                f"{url}: beyond this machine the panel must be reached by https. "
                "Add --insecure if you accept that others on the way can read and change everything."
            )
        path = parts.path.rstrip("/")
        secure = "s" if parts.scheme == "https" else ""
        return cls(
            base=f"http{secure}://{parts.netloc}{path}",
            socket=f"ws{secure}://{parts.netloc}{path}/ws/agent/",
            loopback=loopback,
        )

    @property
    def slug(self) -> str:
        """A name for a folder that belongs to this panel."""
        return hashlib.sha256(self.base.encode()).hexdigest()[:16]


def is_loopback(host: str) -> bool:
    """Whether the host is this very machine, by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
