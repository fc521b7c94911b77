"""What an exit dials: the public Internet and what its owner named, in whatever form an address comes."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fogagent.overlay.exit_policy import (
    REFUSED_IPV4,
    Allowance,
    BadAllowance,
    ExitPolicy,
    Rule,
)


def rule(address: str, port: int = 443, policy: ExitPolicy | None = None) -> Rule | None:
    refusal = (policy or ExitPolicy()).refusal(address, port)
    return None if refusal is None else refusal.rule


def allowing(*texts: str, panel: tuple[str, ...] = (), panel_port: int = 0) -> ExitPolicy:
    return ExitPolicy([Allowance.parse(text) for text in texts], panel=panel, panel_port=panel_port)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("1.1.1.1", None),
        ("2606:4700:4700::1111", None),
        ("::ffff:1.1.1.1", None),
        ("64:ff9b::1.1.1.1", None),  # how hosts without IPv4 reach the rest
        ("2002:101:101::1", None),
        ("0.0.0.0", Rule.UNSPECIFIED),
        ("0.1.2.3", Rule.UNSPECIFIED),
        ("::", Rule.UNSPECIFIED),
        ("127.0.0.1", Rule.LOOPBACK),
        ("127.255.255.254", Rule.LOOPBACK),
        ("::1", Rule.LOOPBACK),
        ("10.0.0.1", Rule.PRIVATE),
        ("172.16.0.1", Rule.PRIVATE),
        ("172.31.255.255", Rule.PRIVATE),
        ("172.32.0.1", None),
        ("192.168.1.1", Rule.PRIVATE),
        ("fd12:3456::1", Rule.PRIVATE),
        ("fec0::1", Rule.PRIVATE),
        ("169.254.169.254", Rule.METADATA),
        ("168.63.129.16", Rule.METADATA),
        ("100.100.100.200", Rule.METADATA),
        ("fd00:ec2::254", Rule.METADATA),
        ("169.254.1.1", Rule.LINK_LOCAL),
        ("fe80::1", Rule.LINK_LOCAL),
        ("100.64.0.1", Rule.CGNAT),
        ("100.127.255.255", Rule.CGNAT),
        ("100.128.0.1", None),
        ("224.0.0.1", Rule.MULTICAST),
        ("ff02::1", Rule.MULTICAST),
        ("255.255.255.255", Rule.BROADCAST),
        ("192.0.2.1", Rule.DOCUMENTATION),
        ("2001:db8::1", Rule.DOCUMENTATION),
        ("240.0.0.1", Rule.RESERVED),
        ("198.18.0.1", Rule.RESERVED),
        ("100::1", Rule.RESERVED),
        ("2001:2::1", Rule.RESERVED),
        ("4000::1", Rule.RESERVED),
        ("64:ff9b:1::a00:1", Rule.PRIVATE),
        ("::ffff:127.0.0.1", Rule.LOOPBACK),
        ("::127.0.0.1", Rule.RESERVED),
        ("64:ff9b::10.0.0.1", Rule.PRIVATE),
        ("2002:a9fe:a9fe::1", Rule.METADATA),
        ("2002:c0a8:0101::1", Rule.PRIVATE),
        ("2001:0:a00:1::1", Rule.PRIVATE),  # the Teredo server
        ("2001:0:101:101:0:0:f5ff:fffe", Rule.PRIVATE),  # its client, 10.0.0.1 with all bits turned
        ("2606:4700::5efe:10.0.0.1", Rule.PRIVATE),  # ISATAP
        ("2606:4700::200:5efe:10.0.0.1", Rule.PRIVATE),
        ("fe80::1%eth0", Rule.ZONE),
        ("2606:4700::1%1", Rule.ZONE),
        ("localhost", Rule.NO_ADDRESS),
        ("127.1", Rule.NO_ADDRESS),
        ("0x7f000001", Rule.NO_ADDRESS),
        ("2130706433", Rule.NO_ADDRESS),
        ("0177.0.0.1", Rule.NO_ADDRESS),
        ("", Rule.NO_ADDRESS),
    ],
)
def test_only_public_addresses_pass(address: str, why: Rule | None) -> None:
    assert rule(address) == why


# Written by hand rather than taken from the policy: each is how a system builds such an address.
DISGUISES: dict[str, Callable[[IPv4Address], int]] = {
    "mapped": lambda four: 0xFFFF << 32 | int(four),
    "compatible": int,
    "translated": lambda four: 0xFFFF << 48 | int(four),
    "6to4": lambda four: 0x2002 << 112 | int(four) << 80 | 1,
    "teredo server": lambda four: 0x20010000 << 96 | int(four) << 64 | 0x3F57FEFE,
    "teredo client": lambda four: 0x20010000 << 96 | 0x01010101 << 64 | int(four) ^ 0xFFFFFFFF,
    "nat64": lambda four: 0x0064FF9B << 96 | int(four),
    "local nat64 /96": lambda four: 0x0064FF9B0001 << 80 | int(four),
    "local nat64 /48": lambda four: (
        0x0064FF9B0001 << 80 | (int(four) >> 16) << 64 | (int(four) & 0xFFFF) << 40
    ),
    "isatap": lambda four: 0x26064700 << 96 | 0x5EFE << 32 | int(four),
    "isatap global": lambda four: 0x26064700 << 96 | 0x02005EFE << 32 | int(four),
}

refused_ipv4 = st.sampled_from([network for network, _ in REFUSED_IPV4]).flatmap(
    lambda network: st.ip_addresses(v=4, network=network)
)


@given(refused_ipv4, st.sampled_from(sorted(DISGUISES)), st.booleans())
@example(IPv4Address("169.254.169.254"), "mapped", True)
def test_no_refused_ipv4_address_passes_in_any_ipv6_form(
    four: IPv4Address, form: str, exploded: bool
) -> None:
    six = IPv6Address(DISGUISES[form](four))
    assert rule(six.exploded if exploded else str(six)) is not None
    elsewhere = allowing("lab=11.1.0.0/16", "docs=[2606:4700:aaaa::/48]", "own=127.0.0.1:1")
    assert rule(str(six), policy=elsewhere) is not None


@given(st.ip_addresses(v=4))
def test_whatever_python_calls_not_global_is_refused_in_ipv4(address: IPv4Address) -> None:
    if not address.is_global:
        assert rule(str(address)) is not None


@given(
    st.sampled_from(["::/16", "100::/16", "2001::/16", "2000::/3", "fc00::/6", "::/0"]).flatmap(
        lambda network: st.ip_addresses(v=6, network=network)
    )
)
def test_whatever_python_calls_not_global_is_refused_in_ipv6(address: IPv6Address) -> None:
    carries_ipv4 = (
        address.teredo or address.sixtofour
    )  # Python judges these differently from version to version
    if not address.is_global and not carries_ipv4:
        assert rule(str(address)) is not None


@given(st.text(max_size=60), st.integers())
def test_any_text_and_any_port_get_an_answer(text: str, port: int) -> None:
    refusal = ExitPolicy().refusal(text, port)
    assert refusal is None or refusal.sentence.endswith(".")


def test_a_refusal_says_what_and_why() -> None:
    assert str(ExitPolicy().refusal("10.0.0.1", 80)) == "10.0.0.1 is in a private network."
    disguised = ExitPolicy().refusal("2002:a00:1::", 80)
    assert str(disguised) == "2002:a00:1:: embeds 10.0.0.1, which is in a private network."


def test_mail_and_impossible_ports_are_refused() -> None:
    assert rule("1.1.1.1", 25) == Rule.MAIL
    assert rule("1.1.1.1", 587) is None
    assert rule("1.1.1.1", 0) == rule("1.1.1.1", 65536) == rule("1.1.1.1", -1) == Rule.NO_PORT
    assert "spam" in str(ExitPolicy().refusal("1.1.1.1", 25))


# --- Allowances --------------------------------------------------------------------------------------


def test_an_allowance_lifts_the_rule_for_exactly_what_it_names() -> None:
    policy = allowing("lab=10.1.0.0/16", "web=127.0.0.1:8080", "six=[fd00:1::/64]:443")
    assert rule("10.1.255.255", 80, policy) is None
    assert rule("::ffff:10.1.0.1", 80, policy) is None  # dialled as 10.1.0.1
    assert rule("10.2.0.1", 80, policy) == Rule.PRIVATE
    assert rule("127.0.0.1", 8080, policy) is None
    assert rule("127.0.0.1", 8081, policy) == Rule.LOOPBACK
    assert rule("127.0.0.2", 8080, policy) == Rule.LOOPBACK
    assert rule("fd00:1::5", 443, policy) is None
    assert rule("fd00:1::5", 80, policy) == rule("fd00:2::5", 443, policy) == Rule.PRIVATE


def test_an_allowance_does_not_reach_into_other_forms_of_its_addresses() -> None:
    policy = allowing("lab=10.1.0.0/16")
    assert rule("64:ff9b::10.1.0.1", 80, policy) == rule("2002:a01:1::", 80, policy) == Rule.PRIVATE


def test_mail_is_allowed_only_where_its_port_is_named() -> None:
    assert rule("10.1.0.1", 25, allowing("lab=10.1.0.0/16")) == Rule.MAIL
    assert rule("10.1.0.1", 25, allowing("mail=10.1.0.1:25")) is None


@pytest.mark.parametrize(
    ("text", "name", "network", "port"),
    [
        ("lab=10.1.0.0/16", "lab", "10.1.0.0/16", None),
        ("lab=127.0.0.1:8080", "lab", "127.0.0.1/32", 8080),
        ("a-2=10.0.0.0/8:22", "a-2", "10.0.0.0/8", 22),
        ("six=fd00::1:8080", "six", "fd00::1:8080/128", None),
        ("six=[fd00::1]:8080", "six", "fd00::1/128", 8080),
        ("six=[fd00::/8]", "six", "fd00::/8", None),
    ],
)
def test_allowances_are_read(text: str, name: str, network: str, port: int | None) -> None:
    assert Allowance.parse(text) == Allowance(name, ipaddress.ip_network(network), port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.0.0.0/8", "must begin with a name"),
        ("=10.0.0.0/8", "must begin with a name"),
        ("Lab=10.0.0.0/8", "must begin with a name"),
        ("lab=", "IPv4 or IPv6 network"),
        ("lab=10.0.0.1/8", "host bits set"),
        ("lab=10.0.0.0/33", "IPv4 or IPv6 network"),
        ("lab=router.lan", "IPv4 or IPv6 network"),
        ("lab=10.0.0.1:0", "a port, 1 to 65535"),
        ("lab=10.0.0.1:65536", "a port, 1 to 65535"),
        ("lab=10.0.0.1:", "a port, 1 to 65535"),
        ("lab=[fd00::1]8080", "a port, 1 to 65535"),
        ("lab=[fd00::1", "IPv4 or IPv6 network"),
        ("lab=::ffff:10.0.0.0/104", "name an IPv4 network as such"),
        ("lab=::/0", "name an IPv4 network as such"),
    ],
)
def test_a_bad_allowance_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(BadAllowance, match=says):
        Allowance.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_an_allowance_or_a_named_error(text: str) -> None:
    for candidate in (text, f"lab={text}", f"lab=[{text}"):
        try:
            Allowance.parse(candidate)
        except BadAllowance as error:
            assert str(error)


# --- The panel and the exit itself -------------------------------------------------------------------


def test_the_panel_is_refused_by_name_and_address_whatever_is_allowed() -> None:
    policy = allowing(
        "lab=10.1.0.0/16", panel=("Panel.Example", "10.1.0.7", "[2606:4700::7]"), panel_port=443
    )
    for name in ("panel.example", "PANEL.example."):
        refusal = policy.refusal_of_name(name)
        assert refusal is not None and refusal.rule == Rule.PANEL
    assert policy.refusal_of_name("other.example") is None
    for address in ("10.1.0.7", "::ffff:10.1.0.7", "2606:4700::7", "2002:a01:7::"):
        assert rule(address, 443, policy) == rule(address, 22, policy) == Rule.PANEL
    assert rule("10.1.0.8", 443, policy) is None


def test_on_a_panels_machine_another_port_may_be_allowed_by_its_number() -> None:
    policy = allowing("echo=127.0.0.1:7", "panel=127.0.0.1:8000", panel=("127.0.0.1",), panel_port=8000)
    assert rule("127.0.0.1", 7, policy) is None
    assert rule("127.0.0.1", 8000, policy) == Rule.PANEL
    assert rule("127.0.0.1", 8, policy) == Rule.PANEL


def test_the_exits_own_public_addresses_are_refused_unless_allowed() -> None:
    own = ["8.8.4.4", "fe80::1%eth0", "2606:4700::9"]
    policy = ExitPolicy([Allowance.parse("web=8.8.4.4:80")], own=own)
    assert rule("8.8.4.4", 22, policy) == rule("2606:4700::9", 22, policy) == Rule.THIS_MACHINE
    assert rule("64:ff9b::8.8.4.4", 22, policy) == Rule.THIS_MACHINE
    assert rule("8.8.4.4", 80, policy) is None


def test_a_network_that_is_allowed_does_not_let_in_the_exit_itself() -> None:
    policy = ExitPolicy(
        map(Allowance.parse, ("lab=10.1.0.0/16", "six=[fd00:1::/64]", "here=10.1.0.6")),
        own=["10.1.0.5", "10.1.0.6", "fd00:1::5", "127.0.0.1"],
    )
    assert rule("10.1.0.5", 22, policy) == rule("fd00:1::5", 22, policy) == Rule.THIS_MACHINE
    assert rule("10.1.0.6", 22, policy) is rule("10.1.0.7", 22, policy) is None
    assert rule("127.0.0.1", 22, allowing("lab=127.0.0.0/8")) is None


def test_where_the_panel_and_the_exit_are_now_replaces_where_they_were() -> None:
    policy = ExitPolicy(panel=["panel.example", "9.9.9.1"], own=["8.8.4.4"])
    assert rule("9.9.9.9", 443, policy) is None
    policy.know(panel=["9.9.9.9", "2606:4700::1"], own=["8.8.8.8"])
    assert rule("9.9.9.9", 443, policy) == rule("2606:4700::1", 1, policy) == Rule.PANEL
    assert rule("9.9.9.1", 443, policy) == Rule.PANEL
    assert rule("8.8.8.8", 443, policy) == Rule.THIS_MACHINE
    assert rule("8.8.4.4", 443, policy) is None
