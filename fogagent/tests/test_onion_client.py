"""Circuits built ahead, shared by what may share them, rotated, and replaced when relays go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest

from fogagent.overlay.onion import client as client_module
from fogagent.overlay.onion import streams as streams_module
from fogagent.overlay.onion.builder import NoCircuit
from fogagent.overlay.onion.client import StreamFailed
from fogagent.overlay.onion.own_circuit import FRESH_S, ROTATE_S
from fogagent.overlay.onion.path import Wishes
from fogagent.tests.onion_net import Heard
from fogagent.tests.onion_user import THREE, User, worthless

NOWHERE = Wishes(exit_region="nowhere")


@asynccontextmanager
async def running(user: User) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(user.client.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what changes here tells nobody
            await asyncio.sleep(0)


@pytest.fixture
def user() -> User:
    return User(8)


@pytest.mark.asyncio
async def test_a_stream_carries_what_is_written(user: User) -> None:
    stream, own = await user.open()
    heard = Heard(stream)
    stream.write(b"hello" * 10_000)
    await until(lambda: heard.data == b"hello" * 10_000)
    assert len(own.path) == 3
    assert len({relay.identity for relay in own.path}) == 3


@pytest.mark.asyncio
async def test_streams_share_a_circuit_unless_they_are_isolated(user: User) -> None:
    _, first = await user.open("a")
    _, again = await user.open("a")
    _, other = await user.open("b")
    _, longer = await user.open("a", Wishes(hops=4))
    assert first is again
    assert len({id(one) for one in (first, other, longer)}) == 3


@pytest.mark.asyncio
async def test_streams_that_begin_together_share_the_circuit_that_is_built_for_them(user: User) -> None:
    opened = await asyncio.gather(*(user.open(isolation) for isolation in ["a"] * 5 + ["b"] * 5))
    circuits = [own for _, own in opened]
    assert len({id(own) for own in circuits[:5]}) == len({id(own) for own in circuits[5:]}) == 1
    assert circuits[0] is not circuits[5]
    assert len(user.client.circuits) == 2


@pytest.mark.asyncio
async def test_who_goes_away_leaves_the_circuit_to_the_others(user: User) -> None:
    first, second = (asyncio.create_task(user.open("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    stream, own = await second
    assert stream.opened
    assert user.client.circuits == [own]


@pytest.mark.asyncio
async def test_all_who_wait_hear_that_there_is_no_circuit(user: User) -> None:
    user.client.use(None)
    heard = await asyncio.gather(*(user.open("a") for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in heard] == [NoCircuit] * 3
    assert not user.client._building_for


@pytest.mark.asyncio
async def test_circuits_are_ready_before_they_are_needed(user: User) -> None:
    async with running(user):
        user.client.want(THREE)
        await until(lambda: len(user.client.circuits) == client_module.AHEAD)
        ready = list(user.client.circuits)
        _, own = await user.open()
        assert own in ready
        await until(lambda: len(user.client.circuits) == client_module.AHEAD + 1)


@pytest.mark.asyncio
async def test_a_wish_that_nobody_can_fulfil_does_not_keep_the_others_waiting(user: User) -> None:
    user.client.want(Wishes(exit_region="nowhere"))
    user.client.want(THREE)
    async with running(user):
        await until(lambda: len(user.client.circuits) == client_module.AHEAD)


@pytest.mark.asyncio
async def test_a_new_directory_is_not_kept_waiting_by_what_failed_before(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("LOOK_S", "BACK_OFF_S"):
        monkeypatch.setattr(client_module, pause, 3600.0)
    user.client.use(None)
    user.client.want(THREE)
    async with running(user):
        await until(lambda: "no directory" in user.client.trouble)
        for _ in range(10):
            await asyncio.sleep(0)  # until it rests
        user.client.use(user.net.directory)
        await until(lambda: len(user.client.circuits) == client_module.AHEAD)


@pytest.mark.asyncio
async def test_a_circuit_takes_no_new_streams_after_a_while_but_keeps_those_it_has(user: User) -> None:
    async with running(user):
        stream, first = await user.open()
        user.clock.now += ROTATE_S
        _, second = await user.open()
        assert first is not second
        heard = Heard(stream)
        stream.write(b"still here")
        await until(lambda: heard.data == b"still here")
        assert first.is_open
        stream.finish()
        await until(lambda: not first.is_open)
        assert second.is_open


@pytest.mark.asyncio
async def test_what_waited_too_long_is_replaced(user: User) -> None:
    async with running(user):
        user.client.want(THREE)
        await until(lambda: len(user.client.circuits) == client_module.AHEAD)
        old = list(user.client.circuits)
        user.clock.now += FRESH_S
        user.client.want(THREE)
        await until(lambda: not any(one.is_open for one in old))
        await until(lambda: len(user.client.circuits) == client_module.AHEAD)


@pytest.mark.asyncio
@pytest.mark.parametrize("flags", [["relay", "exit"], None], ids=["no-guard-any-more", "gone"])
async def test_what_is_ready_is_replaced_when_its_relays_are_not_what_they_were(
    user: User, flags: list[str] | None
) -> None:
    async with running(user):
        _, used = await user.open()
        await until(lambda: len(user.client.circuits) == client_module.AHEAD + 1)
        ready = [one for one in user.client.circuits if one is not used]
        entry = ready[0].path[0]
        relays = dict(user.net.directory.relays)
        if flags is None:
            del relays[entry.identity]
        else:
            relays[entry.identity] = msgspec.structs.replace(entry, flags=flags)
        user.client.use(replace(user.net.directory, relays=relays))
        assert used.is_open
        assert [one.is_open for one in ready] == [entry not in one.path for one in ready]
        await until(lambda: len(user.client.circuits) == client_module.AHEAD + 1)
        new = set(user.client.circuits) - {used, *ready}
        assert new
        assert all(one.path[0].identity != entry.identity for one in new)


@pytest.mark.asyncio
@pytest.mark.parametrize("hop", [0, 1, 2])
async def test_when_a_relay_is_killed_open_streams_end_and_new_ones_work(user: User, hop: int) -> None:
    stream, own = await user.open()
    heard = Heard(stream)
    user.net.take_down(user.box_of(own, hop))
    await until(lambda: heard.end)
    assert heard.end == "circuit"
    for number in range(20):
        _, another = await user.open(number)
        assert user.box_of(own, hop) not in [user.box_of(another, each) for each in range(3)]


@pytest.mark.asyncio
async def test_a_relay_that_says_nothing_is_left_out(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user.builder.times, "timeout_s", lambda hops: 0.05)
    _, own = await user.open()
    silent = user.box_of(own, 1)
    user.net.silent.add(silent.identity)
    for number in range(10):
        _, another = await user.open(number)
        assert another.path[1].identity != silent.identity
    assert user.builder.times._failures == 0


@pytest.mark.asyncio
async def test_a_guard_that_cannot_be_reached_is_not_the_last(user: User) -> None:
    _, own = await user.open()
    user.net.take_down(user.box_of(own, 0))
    _, another = await user.open()
    assert another.path[0] != own.path[0]


@pytest.mark.asyncio
async def test_nothing_can_be_built_without_relays(user: User) -> None:
    user.builder._roster = None
    with pytest.raises(NoCircuit, match="no directory"):
        await user.open()
    with pytest.raises(NoCircuit, match="No exit"):
        user.client.use(user.net.directory)
        await user.open(wishes=Wishes(exit_region="nowhere"))
    assert "nowhere" in user.client.trouble


@pytest.mark.asyncio
async def test_a_circuit_that_is_not_for_streams_says_nothing_of_those_that_are(user: User) -> None:
    with pytest.raises(NoCircuit):
        await user.builder.build(NOWHERE)
    assert not user.client.trouble
    with pytest.raises(NoCircuit):
        await user.open(wishes=NOWHERE)
    await user.builder.build(Wishes(hops=1))
    assert "nowhere" in user.client.trouble


@pytest.mark.asyncio
async def test_trouble_is_told_when_it_begins_and_when_it_is_over(user: User) -> None:
    told: list[str] = []
    user.client._on_trouble = lambda: told.append(user.client.trouble[:7])
    for isolation in ("one", "two"):
        with pytest.raises(NoCircuit):
            await user.open(isolation, wishes=NOWHERE)
        await user.open(isolation, wishes=THREE)  # other wishes are no sign that these can be fulfilled
    assert told == ["No exit"]
    relays = user.net.directory.relays.items()
    there = {key: msgspec.structs.replace(relay, region="nowhere") for key, relay in relays}
    user.client.use(replace(user.net.directory, relays=there))
    await user.open("three", wishes=NOWHERE)
    assert told == ["No exit", ""]


@pytest.mark.asyncio
async def test_trouble_ends_with_the_wish(user: User) -> None:
    with pytest.raises(NoCircuit):
        await user.open(wishes=NOWHERE)
    user.clock.now += client_module.WANTED_S + 1
    user.client._lacking()
    assert not user.client.trouble


@pytest.mark.asyncio
async def test_nothing_in_a_directory_stops_circuits_from_being_kept_ready(user: User) -> None:
    honest = user.net.directory
    bad = {identity: worthless(relay) for identity, relay in honest.relays.items()}
    user.client.use(replace(honest, relays=bad))
    async with running(user) as task:
        user.client.want(THREE)
        await until(lambda: user.client.trouble)
        assert not task.done()


@pytest.mark.asyncio
async def test_what_the_exit_refuses_is_not_tried_elsewhere(user: User) -> None:
    for box in user.net.boxes[1:]:
        box.on_begin = lambda stream, _: stream.abort("not-allowed", "Not there.")
    with pytest.raises(StreamFailed, match="Not there") as caught:
        await user.open()
    assert caught.value.code == "not-allowed"
    assert sum(len(box.begun) for box in user.net.boxes) == 1


@pytest.mark.asyncio
async def test_an_exit_that_never_answers_is_not_waited_for_for_ever(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "OPEN_S", 0.05)
    for box in user.net.boxes[1:]:
        box.on_begin = None
    with pytest.raises(StreamFailed) as caught:
        await user.open()
    assert caught.value.code == "timeout"


@pytest.mark.asyncio
async def test_where_every_circuit_is_full_that_is_said(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "STREAMS_MAX", 0)
    with pytest.raises(NoCircuit, match="at most 0 streams"):
        await user.open()


@pytest.mark.asyncio
async def test_a_stream_that_is_over_at_once_is_not_waited_for(user: User) -> None:
    _, own = await user.open()
    stream = own.circuit.open_stream(b"echo")
    own.circuit.close()
    async with asyncio.timeout(30):
        with pytest.raises(StreamFailed, match="no longer needed"):
            await user.client._opened(stream)


@pytest.mark.asyncio
async def test_build_times_and_guards_are_learned(user: User) -> None:
    async with running(user):
        user.client.want(THREE)
        await until(lambda: len(user.client.circuits) == client_module.AHEAD)
    assert sum(bucket.builds for bucket in user.builder.times.histogram(3)) == client_module.AHEAD
    assert len(user.builder.guards.kept) == 1
    assert {one.path[0].identity for one in user.client.circuits} == {user.builder.guards.kept[0].identity}
