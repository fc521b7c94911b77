"""A SOCKS port that asks for a password: who is let in, what the others are told, and who loses access."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogagent.messages import GuardedTunnel, SetTunnels, SocksPassword, TunnelSpec
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.socks import Fault, Reply, Request, SocksError, SocksParser, reply
from fogagent.overlay.socks_passwords import by_name, digest_of, entitled, new_password
from fogagent.overlay.socks_server import Ending, SocksServer
from fogagent.overlay.stream import Isolation, OverlayStream, Target
from fogagent.overlay.tunnels import Tunnels
from fogagent.tests.overlay_fakes import until
from fogagent.tests.test_overlay_socks import NO_AUTH, USER_PASSWORD, connect, feed, user
from fogagent.tests.test_overlay_socks_server import Overlay, Program

ASK = connect(b"a.example", 80)
LET_IN = b"\x05\x02\x01\x00" + reply(Reply.SUCCEEDED)
SENT_AWAY = b"\x05\x02\x01\x01"


def password_of(name: str, password: bytes, salt: bytes = bytes(16)) -> SocksPassword:
    return SocksPassword(user=name, salt=salt, digest=digest_of(salt, password))


ANN, BOB = password_of("ann", b"of-ann"), password_of("bob", b"of-bob", b"b" * 16)
PASSWORDS = by_name([ANN, BOB])


def guarded() -> SocksParser:
    return SocksParser(lambda name, password: entitled(PASSWORDS, name, password))


def test_a_password_has_128_bits_and_needs_no_escaping_in_an_address() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(len(each) == 22 and each.replace("-", "").replace("_", "").isalnum() for each in passwords)


def test_a_digest_is_hmac_sha_256_under_the_salt() -> None:
    assert digest_of(b"s" * 16, b"pass") == hmac.new(b"s" * 16, b"pass", hashlib.sha256).digest()


@pytest.mark.parametrize(
    ("name", "password", "whose"),
    [
        (b"ann", b"of-ann", ANN),
        (b"ann+work", b"of-ann", ANN),
        (b"ann+", b"of-ann", ANN),
        (b"ann+a+b", b"of-ann", ANN),
        (b"bob", b"of-bob", BOB),
        (b"ann", b"of-bob", None),
        (b"ann", b"", None),
        (b"ann", b"of-an", None),
        (b"annw", b"of-ann", None),
        (b"an", b"of-ann", None),
        (b"+ann", b"of-ann", None),
        (b"", b"of-ann", None),
        (b"Ann", b"of-ann", None),
        (b"carl", b"of-ann", None),
        (b"\xff", b"\xff", None),
    ],
)
def test_whose_password_it_is(name: bytes, password: bytes, whose: SocksPassword | None) -> None:
    assert entitled(PASSWORDS, name, password) == whose


def test_a_plus_may_be_part_of_a_users_name() -> None:
    a, ab = password_of("a", b"1"), password_of("a+b", b"2")
    both = by_name([a, ab])
    assert entitled(both, b"a+b", b"1") == a
    assert entitled(both, b"a+b", b"2") == entitled(both, b"a+b+c", b"2") == ab
    assert entitled(both, b"a", b"2") is None


def test_nobody_gets_in_where_there_is_no_password() -> None:
    assert entitled({}, b"", b"") is None
    assert entitled(by_name([ANN]), b"+", b"") is None


# --- Parsing ----------------------------------------------------------------------------------------


def test_the_right_password_lets_in_and_isolates() -> None:
    parser = guarded()
    assert parser.receive(USER_PASSWORD + user(b"ann+work", b"of-ann") + ASK) == b"\x05\x02\x01\x00"
    assert parser.request == Request(Target("a.example", 80), Isolation(b"ann+work", b"of-ann"))
    assert parser.password == ANN


@pytest.mark.parametrize(
    ("sent", "fault", "answer"),
    [
        (USER_PASSWORD + user(b"ann", b"x") + ASK, Fault.WRONG_PASSWORD, SENT_AWAY),
        (USER_PASSWORD + user(b"carl", b"of-ann"), Fault.WRONG_PASSWORD, SENT_AWAY),
        (USER_PASSWORD + user(b"ann", b"") + ASK, Fault.NO_PASSWORD, SENT_AWAY),
        (USER_PASSWORD + user(b"", b""), Fault.NO_PASSWORD, SENT_AWAY),
        (USER_PASSWORD + b"\x05\x01\x00\x01", Fault.GARBAGE, SENT_AWAY),
        (USER_PASSWORD + ASK, Fault.GARBAGE, SENT_AWAY),
        (NO_AUTH + ASK, Fault.NO_PASSWORD, b"\x05\xff"),
        (b"\x05\x00", Fault.NO_PASSWORD, b"\x05\xff"),
        (b"\x05\x01\x01", Fault.NO_PASSWORD, b"\x05\xff"),
    ],
)
def test_who_has_none_is_told_so_and_gets_no_further(sent: bytes, fault: Fault, answer: bytes) -> None:
    parser = guarded()
    with pytest.raises(SocksError) as raised:
        parser.receive(sent)
    assert (raised.value.fault, raised.value.answer) == (fault, answer)
    with pytest.raises(SocksError):  # there is no second try on the same connection
        parser.receive(user(b"ann", b"of-ann") + ASK)
    assert parser.request is None and parser.password is None


def test_a_refusal_says_nothing_of_who_has_access() -> None:
    told = set()
    for name in (b"ann", b"carl"):
        with pytest.raises(SocksError) as raised:
            guarded().receive(USER_PASSWORD + user(name, b"x"))
        told.add((str(raised.value), raised.value.answer))
    assert len(told) == 1


names = st.sampled_from([b"", b"ann", b"ann+1", b"bob", b"+"]) | st.binary(max_size=255)
given_passwords = st.sampled_from([b"", b"of-ann", b"of-bob"]) | st.binary(max_size=255)
cuts = st.lists(st.integers(0, 600), max_size=8)


@given(names, given_passwords, cuts)
def test_a_password_is_judged_alike_however_it_is_cut(name: bytes, password: bytes, cuts: list[int]) -> None:
    sent = USER_PASSWORD + user(name, password) + ASK + b"rest"
    whole = feed(sent, [], guarded())
    assert feed(sent, cuts, guarded()) == whole
    assert (whole[1] is not None) == (entitled(PASSWORDS, name, password) is not None)


@given(st.binary(max_size=600), cuts)
def test_what_is_no_sub_negotiation_opens_nothing(data: bytes, cuts: list[int]) -> None:
    sent = USER_PASSWORD + data
    whole = feed(sent, [], guarded())
    assert feed(sent, cuts, guarded()) == whole
    assert whole[1] is None or data[:1] == b"\x01"


# --- The port ---------------------------------------------------------------------------------------


class Port:
    def __init__(self, server: SocksServer, port: int) -> None:
        self.server, self._port = server, port
        self.programs: list[Program] = []

    async def come(self, *sent: bytes) -> Program:
        self.programs.append(Program(self._port))
        for each in sent:
            await self.programs[-1].send(each)
        return self.programs[-1]


@pytest.fixture
def overlay() -> Overlay:
    return Overlay()


async def opened(overlay: Overlay, passwords: Sequence[SocksPassword], timeout_s: float = 60.0) -> Port:
    server = SocksServer(
        overlay.open_stream,
        passwords=passwords,
        on_closed=overlay.closed.append,
        request_timeout_s=timeout_s,
    )
    return Port(server, await server.listen("127.0.0.1", 0))


def hello(name: bytes, password: bytes) -> bytes:
    return USER_PASSWORD + user(name, password) + ASK


@pytest.mark.asyncio
async def test_only_who_has_a_password_gets_a_stream_and_the_others_are_counted(overlay: Overlay) -> None:
    port = await opened(overlay, [ANN])
    right = await port.come(hello(b"ann+1", b"of-ann"), b"hello")
    assert await right.receive(len(LET_IN) + 5) == LET_IN + b"hello"
    for sent, answer in [
        (hello(b"ann", b"no"), SENT_AWAY),
        (hello(b"bob", b"of-bob"), SENT_AWAY),
        (NO_AUTH + ASK, b"\x05\xff"),
    ]:
        assert await (await port.come(sent)).receive_all() == answer
    assert port.server.refused == {Fault.WRONG_PASSWORD: 2, Fault.NO_PASSWORD: 1}
    assert [isolation.user for _, isolation in overlay.asked] == [b"ann+1"]
    await port.server.close()
    for each in port.programs:
        each.close()


@pytest.mark.asyncio
async def test_who_is_taken_off_loses_open_streams_and_the_others_keep_theirs(overlay: Overlay) -> None:
    port = await opened(overlay, [ANN, BOB])
    ann, bob = await port.come(hello(b"ann", b"of-ann")), await port.come(hello(b"bob", b"of-bob"))
    half = await port.come(USER_PASSWORD + user(b"ann", b"of-ann"))
    unknown = await port.come(USER_PASSWORD)
    for each, answer in ((ann, LET_IN), (bob, LET_IN), (half, LET_IN[:4]), (unknown, LET_IN[:2])):
        assert await each.receive(len(answer)) == answer
    port.server.set_passwords([BOB])
    with pytest.raises(ConnectionResetError):  # and not as if all had been said
        await ann.receive(1)
    assert await half.receive(1) == b""
    await bob.send(b"still here")
    assert await bob.receive(10) == b"still here"
    await unknown.send(user(b"ann", b"of-ann") + ASK)
    assert await unknown.receive_all() == b"\x01\x01"
    unknown.close()
    await until(lambda: len(overlay.closed) == 3)
    assert Ending.NOT_ANY_MORE in {each.reason for each in overlay.closed}
    await port.server.close()
    for program in port.programs:
        program.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [USER_PASSWORD, USER_PASSWORD + b"\x01\x03an", hello(b"ann", b"wrong")])
async def test_who_is_slow_with_a_password_or_stays_after_a_wrong_one_ends(
    overlay: Overlay, sent: bytes
) -> None:
    port = await opened(overlay, [ANN], timeout_s=0.05)
    program = await port.come(sent)
    await until(lambda: len(overlay.closed) == 1)
    assert port.server.clients == 0
    program.close()
    await port.server.close()


# --- Orders -----------------------------------------------------------------------------------------


class Streams(Overlay):
    def want(self, wishes: Wishes) -> None:
        """Builds nothing."""

    async def open_stream(  # type: ignore[override]
        self, wishes: Wishes, rotate_s: float, tunnel: int, target: Target, isolation: Isolation
    ) -> OverlayStream:
        return await super().open_stream(target, isolation)


@pytest.fixture
def tunnels(tmp_path: Path) -> Iterator[Tunnels]:
    yield Tunnels(Streams(), tmp_path / "ports", lambda: None, granted=True)


def guarded_tunnel(*passwords: SocksPassword, hops: int = 3) -> GuardedTunnel:
    return GuardedTunnel(tunnel=5, hops=hops, passwords=list(passwords))


@pytest.mark.asyncio
async def test_new_passwords_change_a_tunnel_in_its_place(tunnels: Tunnels) -> None:
    await tunnels.set([guarded_tunnel(ANN, BOB)])
    [before] = tunnels.states()
    bob, ann = Program(before.port), Program(before.port)
    await bob.send(hello(b"bob", b"of-bob"))
    assert await bob.receive(len(LET_IN)) == LET_IN
    await tunnels.set([guarded_tunnel(BOB)])
    await ann.send(hello(b"ann", b"of-ann"))
    assert await ann.receive_all() == SENT_AWAY
    await bob.send(b"hello")
    assert await bob.receive(5) == b"hello"
    [after] = tunnels.states()
    assert (after.port, after.wrong_passwords, after.missing_passwords) == (before.port, 1, 0)
    for program in (ann, bob):
        program.close()
    await tunnels.close()


async def answer_to(port: int, sent: bytes) -> bytes:
    """All that a program gets for these bytes that is sent away."""
    program = Program(port)
    await program.send(sent)
    answer = await program.receive_all()
    program.close()
    return answer


async def is_cut(program: Program) -> None:
    """Times out otherwise. Whether it looks like a reset depends on what was still under way."""
    with suppress(ConnectionResetError):
        await program.receive_all()
    program.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [NO_AUTH + ASK, USER_PASSWORD + user(b"any", b"pair") + ASK, USER_PASSWORD])
async def test_who_came_before_passwords_were_asked_for_is_dropped(tunnels: Tunnels, sent: bytes) -> None:
    await tunnels.set([TunnelSpec(tunnel=5)])
    [before] = tunnels.states()
    program = Program(before.port)
    await program.send(sent)
    assert await program.receive(1) == b"\x05"
    await tunnels.set([guarded_tunnel(ANN)])
    await is_cut(program)
    assert await answer_to(before.port, NO_AUTH + ASK) == b"\x05\xff"
    assert await answer_to(before.port, hello(b"any", b"pair")) == SENT_AWAY
    ann = Program(before.port)
    await ann.send(hello(b"ann", b"of-ann"))
    assert await ann.receive(len(LET_IN)) == LET_IN
    ann.close()
    await tunnels.close()


@pytest.mark.asyncio
async def test_who_came_by_a_password_stays_when_none_is_asked_for_any_more(tunnels: Tunnels) -> None:
    await tunnels.set([guarded_tunnel(ANN)])
    [before] = tunnels.states()
    ann, slow = Program(before.port), Program(before.port)
    await ann.send(hello(b"ann", b"of-ann"))
    assert await ann.receive(len(LET_IN)) == LET_IN
    await slow.send(USER_PASSWORD)
    assert await slow.receive(2) == b"\x05\x02"
    await tunnels.set([TunnelSpec(tunnel=5)])
    await is_cut(slow)  # it would be told that its password is wrong
    await ann.send(b"hello")
    assert await ann.receive(5) == b"hello"
    anybody = Program(before.port)
    await anybody.send(NO_AUTH + ASK)
    assert await anybody.receive(12) == b"\x05\x00" + reply(Reply.SUCCEEDED)
    await tunnels.set([guarded_tunnel(BOB)])  # asked for again, and ann's is not among them
    await is_cut(ann)
    await is_cut(anybody)
    await tunnels.close()


@pytest.mark.asyncio
async def test_nobody_has_a_password_yet(tunnels: Tunnels) -> None:
    await tunnels.set([guarded_tunnel()])
    program = Program(tunnels.states()[0].port)
    await program.send(hello(b"ann", b"of-ann"))
    assert await program.receive_all() == SENT_AWAY
    program.close()
    await tunnels.close()


class OldSetTunnels(msgspec.Struct, tag_field="type", tag="settunnels"):
    """As agents knew it before tunnels had passwords."""

    tunnels: list[TunnelSpec]
    order: int = 0


def test_an_agent_of_before_sees_no_tunnel_that_it_could_open_to_everybody() -> None:
    order = SetTunnels(tunnels=[TunnelSpec(tunnel=1)], guarded=[guarded_tunnel(ANN)])
    old = msgspec.json.decode(msgspec.json.encode(order), type=OldSetTunnels)
    assert [spec.tunnel for spec in old.tunnels] == [1]


def test_an_order_of_before_is_understood() -> None:
    old = msgspec.json.encode(OldSetTunnels(tunnels=[TunnelSpec(tunnel=1)]))
    assert msgspec.json.decode(old, type=SetTunnels).guarded == []
