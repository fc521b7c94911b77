"""What a node takes part in the overlay as, from its options."""

from __future__ import annotations

import argparse

import pytest

from fogagent.address import PanelAddress
from fogagent.options import LINK_PORT, add_parser
from fogagent.overlay.part import BadPart, Part, overlay_part

HERE = PanelAddress.parse("http://127.0.0.1:8000", insecure=False)
FAR = PanelAddress.parse("https://panel.example", insecure=False)


def part(*options: str, panel: PanelAddress = FAR) -> Part:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return overlay_part(parser.parse_args(["agent", "--join", panel.base, *options]), panel)


@pytest.mark.parametrize("flag", ["relay", "mix", "exit"])
def test_whoever_relays_accepts_links(flag: str) -> None:
    assert (part("--flags", flag).host, part("--flags", flag).port) == ("0.0.0.0", LINK_PORT)
    assert (part("--flags", flag, panel=HERE).host, part("--flags", flag, panel=HERE).port) == (
        "127.0.0.1",
        0,
    )


def test_others_only_dial() -> None:
    assert part() == Part()
    assert part("--flags", "relay", "--listen", "none").host == ""


def test_owners_say_where() -> None:
    said = part("--listen", "[2001:db8::7]:9000", "--address", "relay.example:443", "--family", "us")
    assert (said.host, said.port, said.address, said.family) == (
        "2001:db8::7",
        9000,
        "relay.example:443",
        "us",
    )


def test_an_exit_dials_what_its_owner_allows_and_never_the_panel() -> None:
    policy = part("--flags", "exit", "--exit-allow", "lab=10.1.0.0/16").exit_policy
    assert policy is not None
    assert policy.refusal("10.1.2.3", 80) is None
    assert policy.refusal("10.2.2.3", 80) is not None
    assert policy.refusal_of_name("panel.example") is not None
    assert part("--flags", "exit", "--exit-mb-per-s", "2").exit_bytes_per_s == 2e6
    assert part("--flags", "relay").exit_policy is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "9000"], "--listen: must look like"),
        (["--listen", "host:port"], "--listen: must look like"),
        (["--address", "http://x:1"], "--address: must look like"),
        (["--flags", "exit", "--exit-allow", "10.1.0.0/16"], "--exit-allow: "),
        (["--flags", "exit", "--exit-allow", "lab=nowhere"], "--exit-allow: "),
    ],
)
def test_an_option_that_cannot_be_used_is_named(options: list[str], says: str) -> None:
    with pytest.raises(BadPart) as caught:
        part(*options)
    assert str(caught.value).startswith(says)
