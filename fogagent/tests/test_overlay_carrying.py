"""Orders and their content, brought over real circuits from a gateway to the node they are for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from fogagent.blobs import Arriving
from fogagent.identity import Identity
from fogagent.messages import Blob, Carried, Carry, NotCarried, Run
from fogagent.overlay import receiving
from fogagent.overlay.letters import write
from fogagent.overlay.onion.backlog import BUFFER_BYTES
from fogagent.overlay.onion.cells import CELL_BYTES
from fogagent.overlay.onion.own_circuit import OwnCircuit
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.onion.stream import Stream
from fogagent.overlay.onion.windows import STREAM_WINDOW
from fogagent.overlay.reading import StreamBroken, reader_of
from fogagent.overlay.receiving import PIECE_BYTES, TASK, Refusal
from fogagent.tests.letters import CONTENT, PANEL, blob, sealed_run
from fogagent.tests.overlay_fakes import until
from fogagent.tests.overlays import GUARD, MIDDLE, Node, node, nodes

pytestmark = pytest.mark.asyncio

LARGE = os.urandom(5_000_000)
GATEWAY = ("entry",)


def letter_to(to: Node, run: Run, *, by: Identity = PANEL, lasts_s: float = 60.0) -> bytes:
    return write(by, to.identity.public_key, to.identity.sealing_key, run, time.time() + lasts_s)


def order_to(node: Node, content: bytes = CONTENT, letter: bytes = b"", **changes: object) -> Carry:
    run = sealed_run(content=content)
    usual: dict[str, object] = {
        "order": 9,
        "attempt": run.attempt,
        "to": node.identity.public_key,
        "content": blob(content),
        "letter": letter or letter_to(node, run),
    }
    return Carry(**{**usual, **changes})  # type: ignore[arg-type]


async def carried(by: Node, order: Carry, content: bytes = CONTENT, within_s: float = 20.0) -> Carried:
    return await by.overlay.carry(order, BytesIO(content), within_s)


def circuits(made: list[Node]) -> int:
    return sum(one.overlay._switch.circuits() for one in made)


async def nothing_left(made: list[Node]) -> None:
    """No circuit, no stream and no file of anything that was not taken on."""
    await until(lambda: circuits(made) == 0)
    await until(lambda: not any(len(one.overlay._receiver or ()) for one in made))
    for one in made:
        files = list(one.desk.blobs._folder.iterdir())
        assert len(files) == len({run.payload for run in one.desk.runs})


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("hops", [1, 3])
async def test_a_gateway_brings_an_order_to_its_node(tmp_path: Path, content: bytes, hops: int) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE, MIDDLE) as made:
        told = await carried(made[0], order_to(made[3], content, hops=hops), content)
        assert (told.order, told.attempt, told.ok, told.sentence) == (9, 5, True, "")
        assert told.size == len(content)
        assert 0 < told.took_ms < 20_000 and 0 < told.build_ms < 20_000
        [run] = made[3].desk.runs
        assert run == sealed_run(content=content)
        assert made[3].desk.blobs.read(blob(content).sha256) == content
        assert not made[0].overlay.client.circuits, "it is for this use alone"
        await nothing_left(made)


async def test_what_is_brought_again_is_taken_again(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GATEWAY, GUARD, MIDDLE, MIDDLE) as made:
        order = order_to(made[4])
        told = [await carried(made[n % 2], order) for n in range(4)]
        assert [each.sentence for each in told] == [""] * 4
        assert len(made[4].desk.runs) == 4, "its agent knows which attempts it has seen"
        await nothing_left(made)


async def test_more_than_come_at_once_wait_for_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "CONTENTS_MOST", 1)
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        begun: list[Arriving] = []
        begin = made[2].desk.blobs.begin

        def note(arriving: Blob) -> Arriving:
            assert all(each._over for each in begun), "one was not over yet"
            begun.append(begin(arriving))
            return begun[-1]

        monkeypatch.setattr(made[2].desk.blobs, "begin", note)
        content = LARGE[:1_000_000]
        runs = [sealed_run(attempt, content) for attempt in range(1, 5)]
        orders = [order_to(made[2], content, letter_to(made[2], run), hops=2) for run in runs]
        told = await asyncio.gather(*(carried(made[0], order, content) for order in orders))
        assert [each.sentence for each in told] == [""] * 4
        await nothing_left(made)


async def test_who_lets_nobody_enter_is_no_gateway(tmp_path: Path) -> None:
    async with nodes(tmp_path, GUARD, MIDDLE, MIDDLE) as made:
        told = await carried(made[0], order_to(made[2]))
        assert (told.ok, "entry is not among" in told.sentence) == (False, True)
        assert told.kind == NotCarried.NO_PART


async def test_a_gateway_without_a_directory_says_so(tmp_path: Path) -> None:
    alone = await node(tmp_path / "1", 1, ["entry"], "")
    try:
        told = await carried(alone, order_to(alone))
        assert told.sentence == ("There is no circuit to its node: This node has no directory of relays yet.")
        assert told.kind == NotCarried.NO_CIRCUIT
    finally:
        await alone.overlay.close()


async def test_where_there_is_no_path_the_rule_is_named(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        nowhere = await carried(made[0], order_to(made[2], to=bytes(32)))
        assert "none with the key 00000000…" in nowhere.sentence
        itself = await carried(made[0], order_to(made[0]))
        assert itself.sentence.startswith("There is no circuit to its node: No ")
        far = await carried(made[0], order_to(made[2]))
        assert "No relay for the middle" in far.sentence


async def test_a_path_that_cannot_be_built_is_given_up_for_another(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE, MIDDLE, MIDDLE) as made:
        await made[3].overlay.close()
        for _ in range(4):  # whichever is drawn first
            told = await carried(made[0], order_to(made[4]))
            assert told.ok, told.sentence
        del made[3]


async def test_a_node_that_is_gone_is_named(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE, MIDDLE) as made:
        await made[3].overlay.close()
        told = await carried(made[0], order_to(made[3]))
        assert (
            told.sentence == "There is no circuit to its node: node-4: A relay could not reach the next one."
        )
        del made[3]


class Stalled(BytesIO):
    """Content of which more comes when the test wants it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.then: Callable[[], object] = lambda: None

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            asyncio.run_coroutine_threadsafe(self._stall(), self._loop).result(20)
        return super().read(size)

    async def _stall(self) -> None:
        self.asked.set()
        done = self.then()
        if asyncio.iscoroutine(done):
            await done


async def test_when_the_middle_is_killed_that_is_told(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE, MIDDLE) as made:
        content = Stalled(LARGE)
        content.then = made[2].overlay.close
        told = await made[0].overlay.carry(order_to(made[3], LARGE), content, 20.0)
        assert told.sentence == "It was lost on its way to node-4: The link between two relays broke."
        assert (told.ok, told.kind) == (False, NotCarried.LOST)
        del made[2]
        await nothing_left(made)


async def test_it_takes_no_longer_than_it_may(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE, MIDDLE) as made:
        content, over = Stalled(LARGE), asyncio.Event()
        content.then = over.wait
        told = await made[0].overlay.carry(order_to(made[3], LARGE), content, 3.0)
        over.set()
        assert (told.kind, told.sentence) == (NotCarried.TIMEOUT, "node-4 did not have it within 3 s.")
        await nothing_left(made)


async def test_what_the_agent_does_not_take_is_told(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE, MIDDLE) as made:
        made[3].desk.refusal = "This node is stopping."
        told = await carried(made[0], order_to(made[3]))
        assert told.sentence == "It was refused by node-4: This node is stopping."
        assert (told.kind, told.reason) == (NotCarried.REFUSED, Refusal.NOT_TAKEN)


async def test_a_node_that_stops_says_so_and_leaves_nothing_undone(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE, MIDDLE) as made:
        content = Stalled(LARGE)
        receiver = made[3].overlay._receiver
        assert receiver is not None
        left: list[int] = []

        async def stop() -> None:
            await until(lambda: len(receiver) == 1)
            await made[3].overlay.close()
            left.append(len(receiver))

        content.then = stop
        told = await made[0].overlay.carry(order_to(made[3], LARGE), content, 20.0)
        assert told.sentence == "It was refused by node-4: This node was stopped."
        assert (told.kind, told.reason) == (NotCarried.REFUSED, Refusal.STOPPED)
        assert left == [0]
        await nothing_left(made)


async def test_it_is_sent_no_faster_than_it_is_read(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        made[-1].overlay._switch._on_begin = lambda stream, asked: stream.accept()
        content = BytesIO(LARGE)
        told = await made[0].overlay.carry(order_to(made[2], LARGE, hops=2), content, 3.0)
        assert told.sentence == "node-3 did not have it within 3 s."
        assert content.tell() < STREAM_WINDOW * CELL_BYTES + BUFFER_BYTES + 2 * PIECE_BYTES < len(LARGE)


# --- What a node refuses -------------------------------------------------------------------------------


async def bare(made: list[Node]) -> tuple[OwnCircuit, Stream]:
    """A stream to the last of them that asks for TASK, as anybody can open it."""
    wishes = Wishes(hops=2, exit_node=made[-1].identity.public_key, needs_exit=False)
    own = await made[0].overlay.client.builder.build(wishes)
    return own, own.circuit.open_stream(TASK)


async def refusal(made: list[Node], sent: bytes, *, finish: bool = True) -> tuple[str, str]:
    """What is said to this: the reason, and a sentence."""
    own, stream = await bare(made)
    reader = reader_of(stream)
    stream.write(sent)
    if finish:
        stream.finish()
    with pytest.raises(StreamBroken) as caught:
        await asyncio.wait_for(reader.read(1), 20)
    own.circuit.close()
    assert made[-1].desk.runs == []
    await nothing_left(made)
    return caught.value.code, str(caught.value)


def headed(letter: bytes) -> bytes:
    return len(letter).to_bytes(4, "big") + letter


async def test_garbage_is_refused_with_its_reason_and_leaves_nothing(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        to, run = made[-1], sealed_run()
        good = headed(letter_to(to, run))
        other = letter_to(made[1], run)
        expired = letter_to(to, run, lasts_s=-1)
        foreign = letter_to(to, run, by=Identity.generate())
        for sent, code, says in (
            (b"", "bad-letter", "finished before the letter"),
            (b"\0\0", "bad-letter", "finished before the letter"),
            (b"GET / HTTP/1.1\r\n\r\n", "bad-letter", "at most 65536 bytes"),
            (headed(b""), "bad-letter", "this one 0"),
            (headed(os.urandom(1000)), "bad-letter", "does not open"),
            (good[:-1], "bad-letter", "finished before the letter"),
            (headed(other) + CONTENT, "bad-letter", "for another node"),
            (headed(expired) + CONTENT, "bad-letter", "expired"),
            (headed(foreign) + CONTENT, "bad-letter", "not written by this node's panel"),
            (good, "bad-content", "before all 14 bytes"),
            (good + CONTENT[:-1], "bad-content", "before all 14 bytes"),
            (good + CONTENT + b"!", "bad-content", "more content came"),
            (good + CONTENT[::-1], "bad-content", "does not fit its hash"),
        ):
            assert (told := await refusal(made, sent))[0] == code, (sent[:20], told)
            assert says.lower() in told[1].lower()


async def test_who_does_not_go_on_is_refused_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        monkeypatch.setattr(receiving, "LETTER_S", 0.05)
        for sent in (b"", b"\0\0\1\0some"):
            assert await refusal(made, sent, finish=False) == (
                "timeout", "It took longer than 0.05 s until the letter had come.",
            )  # fmt: skip
        monkeypatch.setattr(receiving, "LETTER_S", 10.0)
        monkeypatch.setattr(receiving, "CONTENT_S", 0.05)
        whole = headed(letter_to(made[-1], sealed_run())) + CONTENT
        for sent in (whole, whole[:-5]):
            assert await refusal(made, sent, finish=False) == (
                "timeout", "It took longer than 0.05 s until the content had come.",
            )  # fmt: skip


async def test_who_sends_without_end_is_refused(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        whole = headed(letter_to(made[-1], sealed_run())) + CONTENT + bytes(10_000_000)
        assert await refusal(made, whole) == ("bad-content", "More content came than the letter's 14 bytes.")


async def test_there_are_never_too_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "STREAMS_MOST", 2)
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        open_ = [await bare(made) for _ in range(2)]
        for attempt, (_, each) in enumerate(open_, 1):
            each.write(headed(letter_to(made[-1], sealed_run(attempt))) + CONTENT[:-1])
        receiver = made[-1].overlay._receiver
        assert receiver is not None
        await until(lambda: len(receiver._coming) == 2)
        own, stream = await bare(made)
        with pytest.raises(StreamBroken, match="brought 2 tasks already") as caught:
            await reader_of(stream).read(1)
        assert caught.value.code == Refusal.BUSY
        for each_own, _ in (*open_, (own, stream)):
            each_own.circuit.close()
        await nothing_left(made)
        assert (await carried(made[0], order_to(made[-1], hops=2))).ok


async def test_whoever_shows_no_letter_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "STREAMS_MOST", 2)
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        open_ = [await bare(made) for _ in range(2)]
        receiver = made[-1].overlay._receiver
        assert receiver is not None
        await until(lambda: len(receiver) == 2)
        assert (await carried(made[0], order_to(made[-1], hops=2))).ok
        with pytest.raises(StreamBroken, match="letter had not") as caught:
            await reader_of(open_[0][1]).read(1)
        assert caught.value.code == Refusal.BUSY
        assert open_[1][1].ending is None, "one has to go, and the oldest did"
        for own, _ in open_:
            own.circuit.close()
        await nothing_left(made)
        assert not receiver._unread


async def test_of_many_that_come_in_one_turn_as_many_stay_as_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "STREAMS_MOST", 2)
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        own, stream = await bare(made)
        streams = [stream, *(own.circuit.open_stream(TASK) for _ in range(30))]
        await until(lambda: sum(each.ending is None for each in streams) == 2)
        own.circuit.close()
        await nothing_left(made)


async def test_what_comes_once_more_ends_what_brought_it_before(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        own, slow = await bare(made)
        slow.write(headed(letter_to(made[-1], sealed_run())) + CONTENT[:-1])
        receiver = made[-1].overlay._receiver
        assert receiver is not None
        await until(lambda: len(receiver._coming) == 1)
        assert (await carried(made[0], order_to(made[-1], hops=2))).ok
        with pytest.raises(StreamBroken, match="came once more") as caught:
            await reader_of(slow).read(1)
        assert caught.value.code == Refusal.STOPPED
        own.circuit.close()
        assert len(made[-1].desk.runs) == 1
        await nothing_left(made)
        assert receiver._coming == {}


async def test_a_disk_that_is_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        made[-1].desk.blobs._folder.rmdir()
        told = await carried(made[0], order_to(made[-1], hops=2))
        assert told.sentence.startswith("It was refused by node-3: This node cannot store the content: ")


async def test_what_goes_wrong_in_the_agent_ends_no_more_than_its_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        del made[-1].desk.runs
        told = await carried(made[0], order_to(made[-1], hops=2))
        assert told.sentence == "It was refused by node-3: This node failed at it; its log says why."
        assert "AttributeError" in caplog.text
        made[-1].desk.runs = []
        assert (await carried(made[0], order_to(made[-1], hops=2))).ok


async def test_a_relay_without_an_agent_takes_no_tasks(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        made[-1].overlay._receiver = None
        told = await carried(made[0], order_to(made[-1], hops=2))
        assert told.sentence.startswith("It was refused by node-3: This relay is no exit")


@pytest.mark.parametrize("answer", [b"", b"\0", b"?"])
async def test_an_answer_that_means_nothing_is_not_believed(tmp_path: Path, answer: bytes) -> None:
    def begin(stream: Stream, asked: bytes) -> None:
        stream.accept()
        stream.set_reader(lambda data: None, lambda code: None)
        stream.write(answer)
        stream.finish()

    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        made[-1].overlay._switch._on_begin = begin
        told = await carried(made[0], order_to(made[-1], hops=2))
        assert told.sentence == "node-3 did not take it: it gave no answer that is known here."


async def test_a_refusal_is_heard_before_all_was_sent(tmp_path: Path) -> None:
    async with nodes(tmp_path, GATEWAY, GUARD, MIDDLE) as made:
        expired = letter_to(made[2], sealed_run(content=LARGE), lasts_s=-5)
        content = BytesIO(LARGE)
        told = await made[0].overlay.carry(order_to(made[2], LARGE, expired, hops=2), content, 20.0)
        assert told.sentence.startswith("It was refused by node-3: The letter expired")
        assert content.tell() < len(LARGE)
        await nothing_left(made)
