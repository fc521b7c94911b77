"""Who gets a link with whom, and what is said to those who do not. On real sockets."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fogagent.overlay import door
from fogagent.overlay.link_errors import CannotListen, Unreachable
from fogagent.overlay.links import Link, LinkLimits, LinkTimes, Peer
from fogagent.overlay.secure import SecureChannel
from fogagent.tests.linked import WAIT_S, Node, acquaint, comes_true
from fogagent.tests.overlay_fakes import needs_ipv6


@asynccontextmanager
async def silent_port() -> AsyncIterator[int]:
    """Where connections are made, but nobody ever says anything."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


QUICK = LinkTimes(dial_s=0.05, handshake_s=0.05)
PATIENT = LinkTimes(handshake_s=600)


@pytest.mark.asyncio
async def test_both_ends_know_who_is_at_the_other(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        link = await a.links.get(b.identity)
        link.send(1, b"a cell")
        await b.until(lambda: b.frames == [(1, b"a cell")])
        assert (link.peer, b.heard[0].peer) == (b.identity, a.identity)
        b.heard[0].send(3, b"gossip")
        b.heard[0].send(4, b"")
        await a.until(lambda: a.frames == [(3, b"gossip"), (4, b"")])
        assert a.heard == [link, link]


@pytest.mark.asyncio
async def test_an_open_link_is_used_again_by_either_end(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        link = await a.links.get(b.identity)
        assert await a.links.get(b.identity) is link
        (await b.links.get(a.identity)).send(1, b"")
        await a.until(lambda: a.heard == [link])


@pytest.mark.asyncio
async def test_a_link_that_is_closed_as_soon_as_it_is_open_is_given_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        judge = b.links.judge

        def fickle(link: Link, certificate: bytes) -> bytes:
            asyncio.get_running_loop().call_soon(link.close)
            return judge(link, certificate)

        monkeypatch.setattr(b.links, "judge", fickle)
        with pytest.raises(Unreachable, match="at once") as caught:
            await a.links.get(b.identity)
        assert caught.value.retry


@pytest.mark.asyncio
async def test_those_who_ask_at_once_share_one_dial(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        impatient = asyncio.create_task(a.links.get(b.identity))
        links = asyncio.gather(*(a.links.get(b.identity) for _ in range(20)))
        await asyncio.sleep(0)
        impatient.cancel()
        assert len(set(await links)) == 1, "and whoever gives up takes it from nobody"
        assert impatient.cancelled()


@pytest.mark.asyncio
async def test_two_that_dial_each_other_at_once_both_have_working_links(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        of_a, of_b = await asyncio.gather(a.links.get(b.identity), b.links.get(a.identity))
        of_a.send(1, b"from a")
        of_b.send(1, b"from b")
        await b.until(lambda: b.frames == [(1, b"from a")])
        await a.until(lambda: a.frames == [(1, b"from b")])
        both = {of_a, a.heard[0]}
        assert len(both) == 2
        older = await a.links.get(b.identity)
        older.close()
        assert {older, await a.links.get(b.identity)} == both, "the older, and when it is gone the other"


@pytest.mark.asyncio
async def test_whom_the_peer_does_not_admit_is_told_so(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        a.links.admit([b.peer])
        with pytest.raises(
            Unreachable, match=r"opens no link: It does not know this node, or not yet\."
        ) as caught:
            await a.links.get(b.identity)
        assert caught.value.retry, "directories are not all of one version"
        b.links.admit([a.peer])
        await a.links.get(b.identity)
        assert not a.closed, "what never was a link does not end"
        assert not b.closed


@pytest.mark.asyncio
async def test_whoever_was_admitted_once_is_not_for_ever(tmp_path: Path) -> None:
    """TLS still knows its certificate; the directory decides."""
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        b.links.admit([])
        with pytest.raises(
            Unreachable, match=r"opens no link: The (peer closed the link|connection was lost)\."
        ):
            await a.links.get(b.identity)


@pytest.mark.asyncio
async def test_links_end_when_the_peer_is_admitted_no_more(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        link = await a.links.get(b.identity)
        a.links.admit([a.peer])
        assert not link.open
        assert await a.end() == "The peer is not admitted any more."
        assert await b.end() == "The peer closed the link."
        with pytest.raises(Unreachable, match="is not in the directory"):
            await a.links.get(b.identity)


@pytest.mark.asyncio
async def test_links_end_when_the_peer_has_a_new_certificate(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b, Node(tmp_path / "new", "b") as new_b:
        acquaint(a, b)
        old = await a.links.get(b.identity)
        acquaint(a, new_b)
        assert await a.end() == "The peer has a new certificate."
        new = await a.links.get(b.identity)
        assert new is not old
        assert new.certificate == new_b.certificate.der


@pytest.mark.asyncio
async def test_admitting_the_same_again_changes_nothing(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        link = await a.links.get(b.identity)
        acquaint(a, b)
        assert await a.links.get(b.identity) is link


@pytest.mark.asyncio
async def test_whoever_answers_with_another_certificate_is_not_the_peer(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b, Node(tmp_path, "c") as c:
        acquaint(a, b, c)
        a.links.admit([b.peer._replace(address=c.peer.address)])
        with pytest.raises(Unreachable, match="showed a certificate that is not in the directory"):
            await a.links.get(b.identity)


@pytest.mark.asyncio
async def test_who_cannot_be_dialled(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        a.links.admit([a.peer, b.peer._replace(address="")])
        for identity, sentence, retry in (
            (b.identity, "accepts no links: it has no address", False),
            (a.identity, "no link with itself", False),
            (bytes(32), "is not in the directory", True),
        ):
            with pytest.raises(Unreachable, match=sentence) as caught:
                await a.links.get(identity)
            assert caught.value.retry is retry


@pytest.mark.asyncio
@pytest.mark.parametrize("address", ["127.0.0.1:99999", f"{'x' * 64}.example:1", "[::1::1]:1", "nonsense"])
async def test_an_address_that_can_be_none_is_unreachable(tmp_path: Path, address: str) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        a.links.admit([b.peer._replace(address=address)])
        with pytest.raises(Unreachable, match="cannot be reached: "):
            await a.links.get(b.identity)


@pytest.mark.asyncio
async def test_a_certificate_of_ours_that_is_gone_is_named(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        a.certificate.path.unlink()
        with pytest.raises(Unreachable, match=r"TLS cannot use the certificates: .*No such file"):
            await a.links.get(b.identity)


@pytest.mark.asyncio
async def test_a_peer_without_an_address_is_reached_by_the_link_it_opened(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        b.links.admit([a.peer._replace(address="")])
        a.links.admit([b.peer])
        await a.links.get(b.identity)
        (await b.links.get(a.identity)).send(1, b"back")
        await a.until(lambda: a.frames == [(1, b"back")])


@pytest.mark.asyncio
async def test_nobody_listens_there(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        await b.links.close()
        with pytest.raises(Unreachable, match=f"127.0.0.1:{b.port} cannot be reached: Connect") as caught:
            await a.links.get(b.identity)
        assert caught.value.retry


@pytest.mark.asyncio
async def test_nobody_answers_there(tmp_path: Path) -> None:
    async with silent_port() as port, Node(tmp_path, "a", times=QUICK) as a, Node(tmp_path, "b") as b:
        a.links.admit([b.peer._replace(address=f"127.0.0.1:{port}")])
        with pytest.raises(Unreachable, match=r"did not answer within 0\.05 s"):
            await a.links.get(b.identity)


@pytest.mark.asyncio
async def test_a_node_that_closes_dials_no_more(tmp_path: Path) -> None:
    async with silent_port() as port, Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        a.links.admit([b.peer._replace(address=f"127.0.0.1:{port}")])
        waiting = asyncio.create_task(a.links.get(b.identity))
        await asyncio.sleep(0)
        await a.links.close()
        with pytest.raises(Unreachable, match="has closed its links"):
            await waiting
        with pytest.raises(Unreachable, match="has closed its links"):
            await a.links.get(b.identity)


@pytest.mark.asyncio
async def test_closing_ends_all_links(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        link = await a.links.get(b.identity)
        link.send(1, b"last words")
        await a.links.close()
        assert a.closed == [(link, "This node closes its links.")]
        assert await b.end() == "The peer closed the link."
        assert b.frames == [(1, b"last words")]


@pytest.mark.asyncio
async def test_who_comes_while_a_node_closes_is_not_let_in(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        coming = asyncio.create_task(b.links.get(a.identity))
        for _ in range(3):  # turns of the loop: connected, and no further
            await asyncio.sleep(0)
        await a.links.close()
        with pytest.raises(Unreachable):
            await coming
        assert not a.closed


@pytest.mark.asyncio
async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        with pytest.raises(CannotListen, match=f"at 127.0.0.1, port {a.port}"):
            await b.links.listen("127.0.0.1", a.port)


@pytest.mark.asyncio
async def test_no_more_links_than_allowed(tmp_path: Path) -> None:
    one = LinkLimits(links=1)
    async with Node(tmp_path, "a", limits=one) as a, Node(tmp_path, "b") as b, Node(tmp_path, "c") as c:
        acquaint(a, b, c)
        link = await b.links.get(a.identity)
        with pytest.raises(Unreachable, match="opens no link"):
            await c.links.get(a.identity)
        with pytest.raises(Unreachable, match="has its 1 links already"):
            await a.links.get(c.identity)
        link.close()
        await a.end()
        await c.links.get(a.identity)


@pytest.mark.asyncio
async def test_no_more_links_of_one_peer_than_allowed(tmp_path: Path) -> None:
    one = LinkLimits(links_per_peer=1)
    async with Node(tmp_path, "a", limits=one) as a, Node(tmp_path, "b") as b, Node(tmp_path, "b") as again:
        a.links.admit([b.peer])
        b.links.admit([a.peer])
        again.links.admit([a.peer])
        first = await b.links.get(a.identity)
        with pytest.raises(Unreachable, match="opens no link"):
            await again.links.get(a.identity)
        assert first.open


@asynccontextmanager
async def strangers(node: Node, *hosts: str) -> AsyncIterator[list[socket.socket]]:
    """Who connect from there one after the other, and say nothing."""
    with ExitStack() as leaving:
        came = [leaving.enter_context(socket.socket()) for _ in hosts]
        for host, one in zip(hosts, came, strict=True):
            one.setblocking(False)
            one.bind((host, 0))
            await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", node.port))
        yield came


async def shown_out(one: socket.socket) -> bool:
    """Wait until it is."""
    async with asyncio.timeout(WAIT_S):
        return await asyncio.get_running_loop().sock_recv(one, 1) == b""


@pytest.mark.asyncio
async def test_strangers_who_only_connect_have_a_place_and_not_for_long(tmp_path: Path) -> None:
    quick = LinkTimes(handshake_s=0.05)
    async with Node(tmp_path, "a", times=quick) as a, strangers(a, "127.0.0.1") as [one]:
        assert await shown_out(one)


@pytest.mark.asyncio
async def test_strangers_keep_nobody_out(tmp_path: Path) -> None:
    limits = LinkLimits(handshakes=2)
    async with Node(tmp_path, "a", limits=limits, times=PATIENT) as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        async with strangers(a, *["127.0.0.1"] * 10) as came:
            for one in came[:8]:
                assert await shown_out(one)
            assert (await b.links.get(a.identity)).open
            assert await shown_out(came[8])
            await comes_true(lambda: len(a.links._connected) == 2)  # the link and the last of them


@pytest.mark.asyncio
async def test_strangers_of_one_network_take_places_from_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "source_network", lambda host, port: host)
    async with (
        Node(tmp_path, "a", limits=LinkLimits(handshakes=4), times=PATIENT) as a,
        strangers(a, "127.0.0.2", *["127.0.0.3"] * 50) as (slow, *many),
    ):
        for one in many[:47]:
            assert await shown_out(one)
        loop = asyncio.get_running_loop()
        channel = SecureChannel(stranger(None, ssl.TLSVersion.TLSv1_3), accepting=False)
        channel.shake_hands()
        await loop.sock_sendall(slow, channel.outgoing())
        async with asyncio.timeout(WAIT_S):
            assert await loop.sock_recv(slow, 100), "who came first has his place still, and is answered"


@pytest.mark.asyncio
async def test_strangers_who_were_shown_out_are_forgotten_at_once(tmp_path: Path) -> None:
    """Hundreds may come in a second, and each costs what TLS keeps for a connection."""
    gc.disable()
    try:
        one = LinkLimits(handshakes=1)
        async with Node(tmp_path, "a", limits=one, times=PATIENT) as a, strangers(a, "127.0.0.1"):
            await comes_true(lambda: len(a.links._connected) == 1)
            [link] = map(weakref.ref, a.links._connected)
            async with strangers(a, "127.0.0.1"):
                await comes_true(lambda: link() is None)
    finally:
        gc.enable()


@pytest.mark.asyncio
async def test_whoever_has_proven_who_it_is_is_no_stranger(tmp_path: Path) -> None:
    limits, quick = LinkLimits(handshakes=1), LinkTimes(handshake_s=0.5)
    async with (
        Node(tmp_path, "a", limits=limits, times=quick) as a,
        Node(tmp_path, "b") as b,
        Node(tmp_path, "c") as c,
    ):
        acquaint(a, b, c)
        link = await b.links.get(a.identity)
        await c.links.get(a.identity)
        stranger, writer = await asyncio.open_connection("127.0.0.1", a.port)
        async with asyncio.timeout(WAIT_S):
            await stranger.read()
        writer.close()
        assert link.open, "the time for handshakes was over before"


@pytest.mark.asyncio
async def test_who_speaks_no_tls_is_shown_the_door(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert len(await reader.read()) < 10, "at most an alert"
        writer.close()
        await b.links.get(a.identity)


def stranger(certificate: Path | None, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that takes any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("shows", "version"), [(False, ssl.TLSVersion.TLSv1_3), (True, ssl.TLSVersion.TLSv1_2)]
)
async def test_no_link_without_certificate_or_with_old_tls(
    tmp_path: Path, shows: bool, version: ssl.TLSVersion
) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        acquaint(a, b)
        context = stranger(b.certificate.path if shows else None, version)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            reader, _ = await asyncio.open_connection("127.0.0.1", a.port, ssl=context)
            async with asyncio.timeout(WAIT_S):
                await reader.readexactly(1)


@pytest.mark.asyncio
async def test_an_ipv6_address(tmp_path: Path) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        try:
            port = await b.links.listen("::1", 0)
        except CannotListen:
            pytest.skip("no IPv6 here")
        b.links.admit([a.peer])
        a.links.admit([Peer(b.identity, b.certificate.der, f"[::1]:{port}")])
        assert (await a.links.get(b.identity)).open


@needs_ipv6
@pytest.mark.asyncio
@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
async def test_whoever_listens_everywhere_is_reached_over_ipv4_and_ipv6(
    tmp_path: Path, everywhere: str
) -> None:
    async with Node(tmp_path, "a") as a, Node(tmp_path, "b") as b:
        port = await b.links.listen(everywhere, 0)
        for host in ("127.0.0.1", "[::1]"):
            acquaint(a, b)
            a.links.admit([b.peer._replace(address=f"{host}:{port}")])
            link = await a.links.get(b.identity)
            link.close()
            await a.until(lambda: len(a.links) == 0)
        with pytest.raises(CannotListen, match=f"port {port}: .*in use"):
            await a.links.listen(everywhere, port)
