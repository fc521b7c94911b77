"""Whose place a newcomer gets when all are taken."""

from __future__ import annotations

from fogagent.overlay.strangers import Strangers, source_network


def test_there_is_room_for_all_of_one_network_while_nobody_else_comes() -> None:
    strangers = Strangers[int](64)
    assert [strangers.let_in(number, "home") for number in range(64)] == [None] * 64


def test_the_oldest_of_the_network_that_has_most_gives_way() -> None:
    strangers = Strangers[str](4)
    for stranger, network in (("a", "few"), ("b", "many"), ("c", "many"), ("d", "many")):
        strangers.let_in(stranger, network)
    assert strangers.let_in("e", "many") == "b"
    assert strangers.let_in("f", "new") == "c"
    assert strangers.let_in("g", "new") == "d", "many has two, as new has, and came first"


def test_a_network_takes_from_itself_before_it_takes_from_others_that_have_less() -> None:
    strangers = Strangers[str](3)
    for stranger in ("a", "b", "c"):
        strangers.let_in(stranger, stranger)
    assert strangers.let_in("c again", "c") == "c", "all have one, and with the newcomer c has two"


def test_where_nobody_has_more_than_others_the_oldest_gives_way() -> None:
    strangers = Strangers[int](3)
    left = [strangers.let_in(number, f"network {number}") for number in range(6)]
    assert left == [None, None, None, 0, 1, 2]


def test_who_has_proven_who_it_is_is_asked_for_nothing() -> None:
    strangers = Strangers[str](1)
    strangers.let_in("a", "")
    strangers.discard("a")
    strangers.discard("who was never there")
    assert strangers.let_in("b", "") is None
    assert len(strangers) == 1


def test_neighbours_are_one_network_and_others_are_not() -> None:
    def same(*hosts: str) -> bool:
        return len({source_network(host, port) for port, host in enumerate(hosts)}) == 1

    assert same("192.0.2.1", "192.0.2.200", "::ffff:192.0.2.7")
    assert not same("192.0.2.1", "192.0.3.1")
    assert same("2001:db8:1::1", "2001:db8:1:ffff::9")
    assert not same("2001:db8:1::1", "2001:db8:2::1")
    assert same("fe80::1%eth0", "fe80::2%eth0")


def test_on_this_machine_each_is_alone() -> None:
    ways = [("127.0.0.1", 1), ("127.0.0.1", 2), ("::1", 1), ("::1", 2), ("::ffff:127.0.0.1", 3)]
    assert len({source_network(*way) for way in ways}) == len(ways)
