"""Which relays a circuit goes through: by what chance, by which rules, and what is said when none fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fogagent.overlay.directory import Directory, Relay
from fogagent.overlay.onion.guards import MAX_KEPT, Guards
from fogagent.overlay.onion.path import NoPath, Wishes, apart, choose
from fogagent.overlay.onion.roster import LOOPBACK, UNKNOWN, Candidate, Pool, Roster, Rule, networks
from fogagent.overlay.onion.verdicts import State, verdicts
from fogagent.tests.directories import by_identity, relay

NOW = 1_000_000.0
ME = b"me" * 16
ANY = ["relay", "exit", "guard"]
PLAIN = ["relay"]


def directory(*relays: Relay) -> Directory:
    return Directory(7, NOW - 60, NOW + 3600, by_identity(relays))


def far(number: int, **fields: object) -> Relay:
    """A relay in a network of its own."""
    return relay(number, **{"address": f"10.{number}.0.1:9000", "flags": ANY, **fields})


def sentence(listed: Directory, wishes: Wishes, guards: Guards | None = None, me: bytes = ME) -> str:
    with pytest.raises(NoPath) as caught:
        choose(Roster(listed), wishes, guards or Guards(), me, Random(1), NOW)
    return caught.value.sentence


# --- Chance ----------------------------------------------------------------------------------------


def assert_shares(counts: Counter[int], weights: dict[int, float]) -> None:
    """Each count is within four standard deviations of what its weight lets expect (seeds are fixed)."""
    draws, total = sum(counts.values()), sum(weights.values())
    assert set(counts) <= set(weights)
    for number, weight in weights.items():
        share = weight / total
        assert abs(counts[number] - draws * share) <= 4 * (draws * share * (1 - share)) ** 0.5


def test_exits_are_drawn_by_bandwidth_and_the_unknown_count_as_the_middling() -> None:
    speeds = {1: 100, 2: 0, 3: 300, 4: 2000, 5: 0}
    roster = Roster(directory(*(far(number, bandwidth_kbps=speed) for number, speed in speeds.items())))
    rng, guards = Random(1), Guards()
    counts = Counter(choose(roster, Wishes(hops=1), guards, ME, rng, NOW)[0].node for _ in range(20_000))
    assert_shares(counts, {1: 100, 2: 300, 3: 300, 4: 2000, 5: 300})


def test_where_no_bandwidth_is_known_all_are_alike() -> None:
    roster = Roster(directory(*(far(number) for number in range(1, 5))))
    rng = Random(2)
    counts = Counter(choose(roster, Wishes(hops=1), Guards(), ME, rng, NOW)[0].node for _ in range(10_000))
    assert_shares(counts, dict.fromkeys(range(1, 5), 1.0))


def test_middles_are_drawn_by_bandwidth() -> None:
    ends = [far(1, flags=["relay", "guard"]), far(2, flags=["relay", "exit"])]
    speeds = {3: 1000, 4: 3000, 5: 6000}
    middles = [far(number, flags=PLAIN, bandwidth_kbps=speed) for number, speed in speeds.items()]
    roster, rng, guards = Roster(directory(*ends, *middles)), Random(3), Guards()
    counts = Counter(choose(roster, Wishes(), guards, ME, rng, NOW)[1].node for _ in range(10_000))
    assert_shares(counts, {3: 1000, 4: 3000, 5: 6000})


def test_first_guards_of_many_agents_are_drawn_by_bandwidth() -> None:
    speeds = {1: 1000, 2: 3000, 3: 6000}
    guards = [far(number, flags=["relay", "guard"], bandwidth_kbps=speed) for number, speed in speeds.items()]
    roster, rng = Roster(directory(*guards, far(9, flags=["relay", "exit"]))), Random(4)
    counts = Counter(choose(roster, Wishes(hops=2), Guards(), ME, rng, NOW)[0].node for _ in range(10_000))
    assert_shares(counts, {1: 1000, 2: 3000, 3: 6000})


def candidates(weights: dict[int, float]) -> list[Candidate]:
    return [
        Candidate(far(number), weight, str(number), frozenset([str(number)]))
        for number, weight in weights.items()
    ]


def test_drawn_by_weight_also_where_luck_runs_out() -> None:
    """One that may not be taken is drawn nearly always: so the others come from a look at all of them."""
    weights = {1: 1.0, 2: 2.0, 3: 5.0}
    pool = Pool(candidates({0: 1e6, **weights}))
    allowed = Rule("small", lambda each: each.relay.node > 0)
    rng = Random(5)
    pairs = [tuple(each.relay.node for each in pool.order([allowed], rng))[:2] for _ in range(10_000)]
    assert_shares(Counter(first for first, _ in pairs), weights)
    assert_shares(Counter(second for first, second in pairs if first == 3), {1: 1.0, 2: 2.0})


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.5, 1.0, 1e9]), max_size=80), st.integers(0, 100))
def test_an_order_has_each_once(weights: list[float], seed: int) -> None:
    pool = Pool(candidates({number: weight for number, weight in enumerate(weights) if number < 250}))
    even = Rule("even", lambda each: each.relay.node % 2 == 0)
    drawn = [each.relay.node for each in pool.order([even], Random(seed))]
    assert sorted(drawn) == list(range(0, len(weights), 2))


# --- Rules -----------------------------------------------------------------------------------------

FLAGS = st.sampled_from(
    [ANY, ANY, ANY, ANY, ["relay", "exit"], ["relay", "guard"], PLAIN, ["exit", "guard"], []]
)
HOSTS = [
    "10.1.0.1",
    "10.1.9.9",
    "10.2.0.1",
    "10.3.0.1",
    "10.4.0.1",
    "10.5.0.1",
    "[2001:db8::1]",
    "[2001:db8:1::1]",
    "[2001:db9::1]",
]
LOCAL = ["127.0.0.1", "[::1]", "localhost"]


@st.composite
def directories(draw: st.DrawFn, most: int = 9) -> Directory:
    hosts = draw(st.sampled_from([HOSTS, HOSTS, LOCAL]))
    relays = [
        relay(
            number,
            address=draw(st.sampled_from([f"{host}:9000" for host in hosts] * 2 + [""])),
            family=draw(st.sampled_from(["", "", "", "", "a", "b", "c"])),
            region=draw(st.sampled_from(["", "eu", "us"])),
            flags=draw(FLAGS),
            bandwidth_kbps=draw(st.sampled_from([0, 1, 1000, 10**9])),
        )
        for number in range(1, draw(st.sampled_from([0, 2, 4, *range(5, most + 1), most])) + 1)
    ]
    return directory(*relays)


@st.composite
def wishes_about(draw: st.DrawFn, listed: Directory) -> Wishes:
    some = [*sorted(listed.relays), b"?" * 32]
    return Wishes(
        hops=draw(st.sampled_from([1, 2, 2, 3, 3, 3, 4, 5, 6])),
        exit_region=draw(st.sampled_from([""] * 6 + ["eu", "us"])),
        exit_node=draw(st.sampled_from([None] * 4 * len(some) + some)),
        excluded=draw(st.frozensets(st.sampled_from(some), max_size=2)),
        excluded_regions=draw(st.sampled_from([frozenset[str]()] * 5 + [frozenset({"us"})])),
        needs_exit=draw(st.booleans()),
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Directory, Wishes, Guards, bytes]:
    listed = draw(directories())
    some = [*sorted(listed.relays), ME]
    guards = Guards()
    for identity in draw(st.lists(st.sampled_from(some), max_size=4)):
        guards.keep(identity, Random(1), NOW - 100)
        if draw(st.booleans()):
            guards.reached(identity, NOW - 50)
        if draw(st.booleans()):
            guards.failed(identity, NOW - draw(st.sampled_from([5.0, 50.0])))
    return listed, draw(wishes_about(listed)), guards, draw(st.sampled_from([ME, *some]))


def gist(path: Sequence[Relay]) -> tuple[int, ...]:
    """What is the same for paths that differ in the order of their middle relays."""
    nodes = [each.node for each in path]
    return (len(nodes), *nodes[:1], *sorted(nodes[1:-1]), *nodes[-1:])


def all_paths(listed: Directory, wishes: Wishes, me: bytes, first: set[bytes]) -> Iterator[list[Relay]]:
    """Every path there is, in one order of its middles, by trying all: the rules in the plainest words."""
    local = all("10." not in each.address and "2001:" not in each.address for each in listed.relays.values())
    everyone = [
        each
        for each in listed.relays.values()
        if "relay" in each.flags
        and each.address
        and each.identity != me
        and each.identity not in wishes.excluded
        and each.region not in wishes.excluded_regions
    ]

    def clash(one: Relay, other: Relay) -> bool:
        family = one.family == other.family != ""
        return one is other or family or (not local and bool(networks(one) & networks(other)))

    def ends(each: Relay) -> bool:
        return (
            (not wishes.needs_exit or "exit" in each.flags)
            and (not wishes.exit_region or each.region == wishes.exit_region)
            and (wishes.exit_node is None or each.identity == wishes.exit_node)
        )

    def extend(path: list[Relay], rest: list[Relay]) -> Iterator[list[Relay]]:
        if len(path) == wishes.hops:
            yield [path[0], *path[2:], path[1]]
        for place, each in enumerate(rest):
            if not any(clash(each, other) for other in path):
                yield from extend([*path, each], rest[place + 1 :])

    for last in filter(ends, everyone):
        if wishes.hops == 1:
            yield [last]
        for entry in everyone if wishes.hops > 1 else ():
            if "guard" in entry.flags and entry.identity in first and not clash(entry, last):
                yield from extend([entry, last], everyone)


@settings(max_examples=400, deadline=None)
@given(situations(), st.integers(0, 1000))
def test_breaks_no_rule_and_finds_a_path_if_there_is_one(
    situation: tuple[Directory, Wishes, Guards, bytes], seed: int
) -> None:
    listed, wishes, guards, me = situation
    before = guards.encode()
    first = {identity for identity in listed.relays if guards.wait_s(identity, NOW) == 0}
    try:
        path = choose(Roster(listed), wishes, guards, me, Random(seed), NOW)
    except NoPath as error:
        event(error.sentence.partition(":")[0])
        assert not next(all_paths(listed, wishes, me, first), None)
        assert "none" in error.sentence
        assert {each.identity for each in guards.kept} == {
            each.identity for each in Guards.decode(before).kept
        }
    else:
        event(f"{len(path)} hops")
        assert next(all_paths(listed, wishes, me, first), None)
        judged = verdicts(path, listed, wishes, guards, me, NOW)
        assert [each for each in judged if each.state is State.FAILED] == []
        assert len(path) == wishes.hops
        assert all(listed.relays[each.identity] is each for each in path)


@settings(max_examples=400, deadline=None)
@given(situations(), st.data())
def test_verdicts_find_no_fault_with_just_the_paths_that_there_are(
    situation: tuple[Directory, Wishes, Guards, bytes], data: st.DataObject
) -> None:
    listed, wishes, guards, me = situation
    kept = {each.identity for each in guards.kept}
    good = {gist(path): path for path in all_paths(listed, wishes, me, kept)}
    relays = list(listed.relays.values())
    any_path = st.lists(st.sampled_from(relays), max_size=6) if relays else st.just([])
    path = data.draw(st.sampled_from(list(good.values())) | any_path if good else any_path)
    failed = [each for each in verdicts(path, listed, wishes, guards, me, NOW) if each.state is State.FAILED]
    event("bad" if failed else "good")
    assert (failed == []) == (gist(path) in good)


def test_the_same_seed_gives_the_same_path() -> None:
    roster = Roster(directory(*(far(number) for number in range(1, 100))))
    one, other = (choose(roster, Wishes(hops=8), Guards(), ME, Random(6), NOW) for _ in range(2))
    assert one == other


def test_a_kept_guard_goes_before_any_other() -> None:
    roster = Roster(directory(*(far(number) for number in range(1, 30))))
    guards, rng = Guards(), Random(7)
    kept = far(5).identity
    guards.keep(kept, rng, NOW)
    entries = Counter(choose(roster, Wishes(), guards, ME, rng, NOW)[0].identity for _ in range(500))
    assert entries[kept] > 450
    assert len(entries) == 2, "where the guard itself is the exit, one more stands in, always the same"
    assert {each.identity for each in guards.kept} == set(entries)


def test_another_exit_is_tried_when_no_guard_fits_the_first() -> None:
    """The fast exit is of the only guard's family."""
    fast = far(1, flags=["relay", "exit"], family="f", bandwidth_kbps=10**9)
    roster = Roster(
        directory(fast, far(2, flags=["relay", "guard"], family="f"), far(3, flags=["relay", "exit"]))
    )
    path = choose(roster, Wishes(hops=2), Guards(), ME, Random(1), NOW)
    assert [each.node for each in path] == [2, 3]


def test_no_guard_is_needed_for_a_single_hop() -> None:
    guards = Guards()
    path = choose(
        Roster(directory(far(1, flags=["relay", "exit"]))), Wishes(hops=1), guards, ME, Random(1), NOW
    )
    assert [each.node for each in path] == [1]
    assert guards.kept == ()


def test_a_small_network_is_used_up_to_the_last_relay() -> None:
    """Eight relays in four families and six networks: drawing one after the other often gets stuck."""
    middles = [
        far(1, family="a", address="10.1.0.1:1"),
        far(2, family="a", address="10.2.0.1:1"),
        far(3, family="b", address="10.1.0.2:1"),
        far(4, family="b", address="10.3.0.1:1"),
        far(5, family="c", address="10.2.0.2:1"),
        far(6, family="c", address="10.3.0.2:1"),
    ]
    ends = [far(7, flags=["relay", "guard"]), far(8, flags=["relay", "exit"])]
    roster = Roster(directory(*ends, *(relay_with(each, PLAIN) for each in middles)))
    for seed in range(50):
        path = choose(roster, Wishes(hops=5), Guards(), ME, Random(seed), NOW)
        assert len({each.family for each in path if each.family}) == 3


def relay_with(one: Relay, flags: list[str]) -> Relay:
    return relay(one.node, address=one.address, family=one.family, flags=flags)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.frozensets(st.sampled_from("wxyz"), min_size=1, max_size=2)),
        max_size=10,
        unique=True,
    ),
    st.integers(0, 5),
)
def test_apart_is_exact_where_each_has_one_network(
    pairs: list[tuple[str, frozenset[str]]], count: int
) -> None:
    crowd = [Candidate(far(number), 1.0, *pair) for number, pair in enumerate(pairs)]

    def most(rest: list[Candidate]) -> int:
        if not rest:
            return 0
        head, *tail = rest
        with_head = [
            each for each in tail if each.family != head.family and each.networks.isdisjoint(head.networks)
        ]
        return max(1 + most(with_head), most(tail))

    found = apart(crowd, count)
    if all(len(each.networks) == 1 for each in crowd):
        assert (found is not None) == (most(crowd) >= count)
    if found is not None:
        assert len(found) == count
        assert len({each.family for each in found}) == count
        assert len(frozenset().union(*(each.networks for each in found))) == sum(
            len(each.networks) for each in found
        )


@pytest.mark.parametrize("hops", [0, 9, -1])
def test_hops_have_limits(hops: int) -> None:
    with pytest.raises(ValueError, match="1 to 8 hops"):
        Wishes(hops=hops)


# --- Networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7:9000", "192.0.0.0/16"),
        ("[2001:db8:1::7]:9000", "2001:0db8::/32"),
        ("[::ffff:192.0.2.7]:9000", "192.0.0.0/16"),
        ("127.0.1.1:9000", LOOPBACK),
        ("[::1]:9000", LOOPBACK),
        ("localhost:9000", LOOPBACK),
        ("relay.example:9000", UNKNOWN),
        ("[:::]:9000", UNKNOWN),
    ],
)
def test_networks(address: str, expected: str) -> None:
    assert networks(relay(1, address=address)) == {expected}


def test_what_is_published_holds_for_names_and_for_nothing_else() -> None:
    claimed = ["192.0.0.0/16", "2001:0db8::/32"]
    assert networks(relay(1, address="relay.example:9000", networks=claimed)) == set(claimed)
    assert networks(relay(1, address="198.51.100.7:9000", networks=claimed)) == {"198.51.0.0/16"}


def named(number: int, *leads_to: str) -> Relay:
    return relay(number, address=f"host-{number}.example:9000", flags=ANY, networks=list(leads_to))


@pytest.mark.parametrize(
    "third",
    [
        named(3, "10.1.0.0/16"),  # another name of the same site
        named(3, "10.9.0.0/16", "2001:0db8::/32"),  # which it shares with the second
        relay(3, address="10.1.2.3:9000", flags=ANY),
        relay(3, address="[2001:db8::7]:9000", flags=ANY),
    ],
)
def test_names_are_told_apart_by_where_they_lead(third: Relay) -> None:
    one, other = named(1, "10.1.0.0/16"), named(2, "10.2.0.0/16", "2001:0db8::/32")
    with pytest.raises(NoPath):
        choose(Roster(directory(one, other, third)), Wishes(), Guards(), ME, Random(1), NOW)
    apart_from_both = named(4, "10.4.0.0/16")
    path = choose(Roster(directory(one, other, apart_from_both)), Wishes(), Guards(), ME, Random(1), NOW)
    assert len(path) == 3


def test_one_of_a_path_may_be_in_an_unknown_network() -> None:
    ends = [far(1), far(2)]
    assert len(choose(Roster(directory(*ends, named(3))), Wishes(), Guards(), ME, Random(1), NOW)) == 3
    with pytest.raises(NoPath):
        choose(Roster(directory(far(1), named(2), named(3))), Wishes(), Guards(), ME, Random(1), NOW)


def test_names_that_lead_to_this_machine_are_on_loopback() -> None:
    local = [named(1, LOOPBACK), named(2, LOOPBACK), relay(3, address="localhost:9000", flags=ANY)]
    assert len(choose(Roster(directory(*local)), Wishes(), Guards(), ME, Random(1), NOW)) == 3
    assert not Roster(directory(*local, named(4, LOOPBACK, "10.1.0.0/16"))).on_loopback


def test_on_one_machine_addresses_say_nothing() -> None:
    local = [relay(number, address=f"127.0.0.1:{number}", flags=ANY) for number in range(1, 6)]
    away = relay(9, address="", flags=ANY)
    assert len(choose(Roster(directory(*local, away)), Wishes(hops=5), Guards(), ME, Random(1), NOW)) == 5
    with pytest.raises(NoPath):
        choose(Roster(directory(*local, far(9))), Wishes(), Guards(), ME, Random(1), NOW)


# --- Sentences -------------------------------------------------------------------------------------


def test_says_that_no_exit_is_in_the_region() -> None:
    listed = directory(*(far(number, region="us") for number in range(1, 4)), far(4, flags=PLAIN))
    assert sentence(listed, Wishes(exit_region="eu-west")) == (
        "No exit: 4 in the directory, of these 3 with the flag exit, of these none in eu-west."
    )


def test_says_what_is_wrong_with_the_exit_node() -> None:
    plain = far(2, flags=PLAIN)
    assert sentence(directory(far(1), plain), Wishes(exit_node=plain.identity)) == (
        f"No exit: 2 in the directory, of these 1 with the key {plain.identity.hex()[:8]}…, "
        "of these none with the flag exit."
    )


def test_says_that_nobody_can_be_reached() -> None:
    assert sentence(directory(far(1, address=""), far(2, flags=["exit"])), Wishes()) == (
        "No exit: 2 in the directory, of these none that can be reached as relays."
    )
    assert sentence(directory(), Wishes()) == "No exit: none in the directory."


def test_says_who_excluded_them() -> None:
    listed = directory(far(1), far(2), far(3, region="eu"))
    wishes = Wishes(
        needs_exit=False, excluded=frozenset({far(2).identity}), excluded_regions=frozenset({"eu"})
    )
    assert sentence(listed, wishes, me=far(1).identity) == (
        "No last relay: 3 in the directory, of these 2 other than this node itself, of these 1 not excluded, "
        "of these none outside the excluded regions."
    )


def test_says_that_no_guard_fits_the_exit() -> None:
    listed = directory(
        far(1, flags=["relay", "guard"], family="f"),
        far(2, flags=["relay", "exit"], family="f"),
        far(3, flags=["relay", "guard"], address="10.2.7.7:1"),
    )
    assert sentence(listed, Wishes(hops=2)) == (
        "No guard: 3 in the directory, of these 2 with the flag guard, of these 1 of another family than "
        "relay-2, of these none in another network than relay-2."
    )


def test_says_that_guards_could_not_be_reached() -> None:
    listed = directory(far(1, flags=["relay", "guard"]), far(2, flags=["relay", "exit"]), far(3))
    guards = Guards()
    for number in (1, 3):
        guards.keep(far(number).identity, Random(1), NOW)
        guards.failed(far(number).identity, NOW)
    assert sentence(listed, Wishes(), guards) == (
        "No guard: 3 in the directory, of these 2 with the flag guard, of these none that could be reached "
        "when last tried."
    )


def test_says_that_no_more_guards_are_drawn() -> None:
    guards = Guards()
    for number in range(100, 100 + MAX_KEPT):
        guards.keep(far(number).identity, Random(1), NOW)
    assert sentence(directory(*(far(number) for number in range(1, 6))), Wishes(), guards) == (
        "No guard: 5 in the directory, of these none that is kept or may be drawn."
    )


def test_says_that_too_few_families_are_there() -> None:
    listed = directory(far(1, family="a"), far(2, family="b"), far(3, family="a"), far(4, family="b"))
    said = sentence(listed, Wishes())
    assert "of these 2 not in the path yet, of these none of another family than relay-" in said
    assert said.startswith("No relay for the middle: 4 in the directory")
