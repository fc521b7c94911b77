"""Paths that fail and guards that mislead: what building learns, and whom it leaves out."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from random import Random

import msgspec
import pytest

from fogagent.overlay.onion.builder import SHUNNED_S, TRIES, NoCircuit
from fogagent.overlay.onion.builds import CEILING_S
from fogagent.overlay.onion.own_circuit import OwnCircuit
from fogagent.overlay.onion.path import Wishes
from fogagent.tests.onion_net import Box
from fogagent.tests.onion_user import THREE, User, worthless


async def attempts(user: User, number: int, pause_s: float = SHUNNED_S) -> list[OwnCircuit]:
    """Those of so many circuits that could be built."""
    built = []
    for _ in range(number):
        with suppress(NoCircuit):
            built.append(await user.builder.build(THREE))
        user.clock.now += pause_s
    return built


@pytest.fixture
def user() -> User:
    return User(8)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(5))
async def test_where_all_others_are_gone_a_relay_that_failed_long_ago_is_tried_again(seed: int) -> None:
    user = User(8, seed)
    *gone, guard, other, back = user.net.boxes[1:]
    user.net.take_down(back)
    while back.identity not in user.builder._shunned:
        with suppress(NoCircuit):
            await user.builder.build(THREE)
    user.net.down.clear()
    user.clock.now += SHUNNED_S / 2
    for box in gone:
        user.net.take_down(box)
    user.builder.guards.keep(guard.identity, Random(1), user.clock.now)
    user.builder.guards.keep(other.identity, Random(1), user.clock.now)
    paths = [own.path for own in await attempts(user, 3, pause_s=0)]
    assert paths and {relay.identity for relay in paths[0]} == {box.identity for box in (guard, other, back)}


@pytest.fixture
def guarded() -> User:
    """A user of a network whose guards are no exits."""
    user = User(8)
    relays = {
        relay.identity: msgspec.structs.replace(
            relay, flags=["relay", "guard"] if relay.node <= 4 else ["relay", "exit"]
        )
        for relay in user.net.directory.relays.values()
    }
    user.client.use(replace(user.net.directory, relays=relays))
    return user


def pass_time(seconds: float) -> None:
    """In the running loop: what waits for no longer has waited enough, however slow the machine is."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]


def cut_off(box: Box) -> None:
    """Whoever comes to it is told that the next relay cannot be reached."""
    box.switch._reach = lambda identity, then: then(None)


@pytest.mark.asyncio
async def test_a_guard_that_carries_nothing_on_is_set_aside(guarded: User) -> None:
    _, own = await guarded.open()
    lying = guarded.box_of(own, 0)
    cut_off(lying)
    built = await attempts(guarded, 10)
    assert built
    assert {one.path[0].identity for one in built}.isdisjoint({lying.identity})
    guards = guarded.builder.guards
    assert guards.aside(guarded.clock.now) == {lying.identity}
    assert len(guards.kept) == 2


@pytest.mark.asyncio
async def test_what_a_relay_behind_the_guard_cannot_reach_is_not_the_guards_fault(guarded: User) -> None:
    _, own = await guarded.open()
    guard = guarded.box_of(own, 0)
    for box in guarded.net.boxes[1:]:
        if box is not guard:
            cut_off(box)
    assert not await attempts(guarded, 10)
    (kept,) = guarded.builder.guards.kept
    assert (kept.identity, kept.count.share) == (guard.identity, 1)
    assert kept.count.circuits > 10


@pytest.mark.asyncio
async def test_a_guard_that_says_nothing_more_has_not_carried_on(guarded: User) -> None:
    _, own = await guarded.open()
    guarded.box_of(own, 0).switch._reach = lambda identity, then: pass_time(CEILING_S)
    await attempts(guarded, 1)
    count = guarded.builder.guards.kept[0].count
    assert count.circuits == 1 + TRIES
    assert sum(tally.carried for tally in count.beyond.values()) == 1


@pytest.mark.asyncio
async def test_when_nothing_goes_on_anywhere_we_do_not_run_from_guard_to_guard(guarded: User) -> None:
    for box in guarded.net.boxes[1:]:
        cut_off(box)
    assert not await attempts(guarded, 40)
    assert len(guarded.builder.guards.kept) == 2
    assert not guarded.builder.guards.aside(guarded.clock.now)


@pytest.mark.asyncio
async def test_a_relay_that_is_back_in_the_directory_is_tried_at_once(user: User) -> None:
    honest = user.net.directory
    own = await user.builder.build(THREE)
    guard = own.path[0]
    for box in user.net.boxes[1:]:
        user.net.take_down(box)
    with pytest.raises(NoCircuit):
        await user.builder.build(THREE)
    user.net.down.clear()
    with pytest.raises(NoCircuit, match="No guard"):  # nobody has told that they are there again
        await user.builder.build(THREE)
    others = {key: relay for key, relay in honest.relays.items() if key != guard.identity}
    user.client.use(replace(honest, relays=others))
    user.client.use(honest)
    assert (await user.builder.build(THREE)).path[0] == guard


@pytest.mark.asyncio
async def test_a_relay_whose_onion_key_is_none_is_gone_round(user: User) -> None:
    _, own = await user.open()
    guard = own.path[0]
    relays = {**user.net.directory.relays, guard.identity: worthless(guard)}
    user.client.use(replace(user.net.directory, relays=relays))
    _, another = await user.open("another")
    assert another.path[0] != guard
    with pytest.raises(NoCircuit, match=f"{guard.name}: .*low order"):
        await user.builder.build_over([worthless(guard)], Wishes(hops=1))
