"""What clients write that want a stream, as an exit reads it."""

from __future__ import annotations

import pytest

from fogagent.overlay.exit_streams import connect_to, read_connect
from fogagent.overlay.stream import BadTarget, Target


@pytest.mark.parametrize("host", ["Example.org", "192.0.2.7", "2001:db8::1", "a"])
@pytest.mark.parametrize("port", [1, 80, 65535])
def test_what_is_written_is_read_as_it_was(host: str, port: int) -> None:
    assert read_connect(connect_to(Target(host, port))) == Target(host, port)


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"example.org",
        b"example.org:",
        b"example.org:0",
        b"example.org:65536",
        b"example.org:0080",
        b"example.org:8_0",
        b"example.org:" + b"9" * 4050,
        b"example.org:80 ",
        b"example.org:80/path?query#part",
        b"somebody:secret@example.org:80",
        b"exa\tmple.org:80",
        b"ex\xe4mple.org:80",
        b"[192.0.2.7]:80",
        b"[example.org]:80",
        b"2001:db8::1:80",
        b"[2001:db8::1]:80:80",
        b"[2001:db8::1]more:80",
        b"[fe80::1%lo]:80",
    ],
)
def test_what_no_client_would_write_is_refused(asked: bytes) -> None:
    with pytest.raises(BadTarget):
        read_connect(b"connect " + asked)
