"""Dialling out: names are resolved once, every address is checked, and only what was checked is dialled."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import pytest

from fogagent.overlay import exits
from fogagent.overlay.exit_policy import Allowance, ExitPolicy
from fogagent.overlay.exits import ExitRefused, dial, keep_known, own_addresses
from fogagent.overlay.stream import Reason, StreamRefused
from fogagent.tests.overlay_fakes import needs_ipv6, until


class Names:
    """A name server that answers each question with the next of its answers."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def listening(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as server:
        yield server.getsockname()[1]


def allowing(*wheres: str) -> ExitPolicy:
    return ExitPolicy([Allowance.parse(f"lab={where}") for where in wheres])


async def refusal(host: str, port: int, policy: ExitPolicy, names: Names | None = None) -> ExitRefused:
    with pytest.raises(ExitRefused) as raised:
        await dial(host, port, policy, timeout_s=5, resolve=names or Names())
    assert isinstance(raised.value, StreamRefused)
    return raised.value


@pytest.mark.asyncio
async def test_an_address_is_dialled_as_it_is() -> None:
    async with listening() as port:
        with await dial("127.0.0.1", port, allowing("127.0.0.1"), timeout_s=5) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
            assert not connection.getblocking()
        with await dial("::ffff:127.0.0.1", port, allowing("127.0.0.1"), timeout_s=5) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)


@needs_ipv6
@pytest.mark.asyncio
async def test_ipv6_is_dialled() -> None:
    async with listening("::1") as port:
        with await dial("::1", port, allowing("::1"), timeout_s=5) as connection:
            assert connection.getpeername()[:2] == ("::1", port)


@pytest.mark.asyncio
async def test_a_name_that_changes_its_answer_gains_nothing() -> None:
    """DNS rebinding: the first answer passes the check, the second would lead to another machine."""
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    async with listening("127.0.0.2") as port, listening("127.0.0.1", port):
        policy = allowing("127.0.0.2")
        with await dial("rebinding.example", port, policy, timeout_s=5, resolve=names) as connection:
            assert connection.getpeername() == ("127.0.0.2", port)
    assert names.asked == ["rebinding.example"]


@pytest.mark.asyncio
async def test_refused_addresses_are_skipped_and_the_rest_dialled() -> None:
    names = Names(["169.254.169.254", "::ffff:10.0.0.1", "::1", "127.0.0.1"])
    async with listening() as port:
        policy = allowing("127.0.0.1")
        with await dial("mixed.example", port, policy, timeout_s=5, resolve=names) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)


@pytest.mark.asyncio
async def test_when_all_addresses_are_refused_it_says_which_and_why() -> None:
    refused = await refusal("inside.example", 80, ExitPolicy(), Names(["10.0.0.1", "fe80::1%eth0"]))
    assert refused.reason == Reason.NOT_ALLOWED
    assert "inside.example:80" in str(refused)
    assert "10.0.0.1 is in a private network." in str(refused)
    assert "fe80::1%eth0 names a network interface" in str(refused)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1", "::1", "0", "::"]
)
async def test_no_spelling_of_this_machine_is_dialled(host: str) -> None:
    async with listening() as port:
        with pytest.raises(ExitRefused) as raised:
            await dial(host, port, ExitPolicy(), timeout_s=5)
        assert raised.value.reason == Reason.NOT_ALLOWED


@pytest.mark.asyncio
async def test_the_machines_own_addresses_are_known() -> None:
    assert "127.0.0.1" in own_addresses()


@pytest.mark.asyncio
async def test_the_panels_name_is_not_even_resolved() -> None:
    names = Names()
    refused = await refusal("panel.example.", 443, ExitPolicy(panel=["panel.example"]), names)
    assert (refused.reason, names.asked) == (Reason.NOT_ALLOWED, [])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "failure",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        UnicodeError("label empty or too long"),
        [],
    ],
)
async def test_a_name_that_cannot_be_resolved(failure: list[str] | Exception) -> None:
    refused = await refusal("nowhere.example", 80, ExitPolicy(), Names(failure))
    assert refused.reason == Reason.CANNOT_RESOLVE
    assert "nowhere.example" in str(refused)


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["", "a b", "a\0b", "bücher.example", "x" * 300, "%", "fe80::1%eth0"])
async def test_what_is_no_name_is_not_resolved(host: str) -> None:
    names = Names()
    refused = await refusal(host, 80, ExitPolicy(), names)
    assert (refused.reason, names.asked) == (Reason.CANNOT_RESOLVE, [])


@pytest.mark.asyncio
async def test_a_label_too_long_for_dns_is_a_name_that_cannot_be_resolved() -> None:
    with pytest.raises(ExitRefused) as raised:
        await dial("x" * 64 + ".example", 80, ExitPolicy(), timeout_s=5)
    assert raised.value.reason == Reason.CANNOT_RESOLVE


@pytest.mark.asyncio
async def test_a_silent_name_server_takes_half_of_the_time_at_most() -> None:
    async def silent(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(ExitRefused, match=r"slow.example could not be resolved within 0.05 s") as raised:
        await dial("slow.example", 80, ExitPolicy(), timeout_s=0.1, resolve=silent)
    assert raised.value.reason == Reason.TIMEOUT


@pytest.mark.asyncio
async def test_a_closed_port_is_refused() -> None:
    async with listening() as port:
        pass
    refused = await refusal("127.0.0.1", port, allowing("127.0.0.1"))
    assert refused.reason == Reason.REFUSED
    assert f"127.0.0.1:{port} refused the connection" in str(refused)


@pytest.mark.asyncio
async def test_an_address_without_a_route_is_unreachable() -> None:
    refused = await refusal("224.0.0.1", 80, allowing("224.0.0.1"))  # TCP has no way to many
    assert refused.reason == Reason.UNREACHABLE


@pytest.mark.asyncio
async def test_of_several_failures_the_telling_one_is_named() -> None:
    async with listening() as port:
        pass
    names = Names(["127.0.0.1", "224.0.0.1"])
    refused = await refusal("both.example", port, allowing("127.0.0.1", "224.0.0.1"), names)
    assert refused.reason == Reason.REFUSED
    assert "127.0.0.1" in str(refused) and "224.0.0.1" in str(refused)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 at which nobody answers: whoever listens has more callers than it takes."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            caller = sockets.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@pytest.mark.asyncio
async def test_a_silent_address_is_a_timeout(silent_port: int) -> None:
    with pytest.raises(ExitRefused, match="did not answer in time") as raised:
        await dial("127.0.0.1", silent_port, allowing("127.0.0.1"), timeout_s=0.2)
    assert raised.value.reason == Reason.TIMEOUT


@pytest.mark.asyncio
async def test_a_silent_address_leaves_time_for_the_next(silent_port: int) -> None:
    names = Names(["127.0.0.1", "127.0.0.2"])
    async with listening("127.0.0.2", silent_port):
        policy = allowing("127.0.0.0/8")
        with await dial("two.example", silent_port, policy, timeout_s=1, resolve=names) as connection:
            assert connection.getpeername()[0] == "127.0.0.2"


def test_zones_are_kept_so_that_they_can_be_refused() -> None:
    assert exits._numeric(("fe80::1", 80, 0, 2)) == "fe80::1%2"
    assert exits._numeric(("fe80::1%eth0", 80, 0, 2)) == "fe80::1%eth0"
    assert exits._numeric(("2606:4700::1", 80, 0, 0)) == "2606:4700::1"
    assert exits._numeric(("1.1.1.1", 80)) == "1.1.1.1"


@pytest.mark.asyncio
async def test_the_panel_is_refused_at_whatever_address_its_name_leads_to() -> None:
    policy = ExitPolicy(panel=["panel.example"])
    names = Names(["9.9.9.9"], OSError("no answer"), ["9.9.9.8"])
    machine = [["8.8.8.8"], ["8.8.8.8"], ["8.8.4.4"]]
    refused: list[list[str]] = []

    def own() -> list[str]:
        refused.append([a for a in ("9.9.9.9", "9.9.9.8", "8.8.8.8", "8.8.4.4") if policy.refusal(a, 443)])
        return machine.pop(0)

    with pytest.raises(IndexError):  # no more is answered
        await keep_known(policy, every_s=0, resolve=names, own=own)
    assert refused == [[], ["9.9.9.9", "8.8.8.8"], ["9.9.9.9", "8.8.8.8"]]
    assert policy.refusal("9.9.9.8", 443) and policy.refusal("8.8.4.4", 443)
    assert not policy.refusal("9.9.9.9", 443)


@pytest.mark.asyncio
async def test_clients_that_come_and_go_leave_no_queue_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    asked: list[str] = []

    def silent(host: str, port: int, **how: object) -> list[object]:
        asked.append(host)
        answered.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    workers = exits._resolvers._max_workers
    patient = [asyncio.create_task(exits.resolve(f"slow-{number}.example", 80)) for number in range(workers)]
    try:
        await until(lambda: len(asked) == workers)
        for number in range(2 * exits.LOOK_UPS_MOST):
            looking = asyncio.create_task(exits.resolve(f"{number}.example", 80))
            await asyncio.sleep(0)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        with pytest.raises(OSError, match="to look up already"):
            await exits.resolve("one-more.example", 80)
        assert exits._resolvers._work_queue.qsize() <= exits.LOOK_UPS_MOST
    finally:
        answered.set()
    assert await asyncio.gather(*patient) == [[]] * workers
    await until(exits._resolvers._work_queue.empty)
    assert len(asked) == workers, "nobody waits for the others"
    assert await exits.resolve("again.example", 80) == []
