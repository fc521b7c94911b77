"""Streams: many connections on one circuit, at either of its ends.

Each stream has a window of its own beside that of the circuit (`windows`), and those that have
something to send take turns, a cell each. Nothing here waits: what cannot go yet goes in `pump`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol
from weakref import WeakSet

from fogagent.overlay.onion.cells import DATA_BYTES, Message, RelayCommand
from fogagent.overlay.onion.errors import ProtocolError
from fogagent.overlay.onion.windows import (
    CIRCUIT_STEP,
    CIRCUIT_WINDOW,
    STREAM_STEP,
    STREAM_WINDOW,
    Window,
)

STREAMS_MAX = 256
"""Streams that one circuit may carry at once."""
NUMBERS = 2**16
BUFFER_BYTES = 128 * 1024
"""With more than this to send, a stream is full and takes more only in order not to lose it."""
SENTENCE_BYTES = 500

OnData = Callable[[bytes], None]
OnEnd = Callable[[str], None]


class Ending(NamedTuple):
    """Why a stream is over: a code such as "refused" or "timeout", and a sentence for people."""

    code: str
    sentence: str


class Carrier(Protocol):
    """The circuit, as its streams see it."""

    @property
    def ready(self) -> bool:
        """Whether data should go out now; when it becomes true again, `Streams.pump` is called."""

    def send(self, command: RelayCommand, stream: int, data: bytes | memoryview) -> None: ...


class Stream:
    """One connection across the circuit. Data comes to the reader as it arrives, unless it holds."""

    def __init__(self, streams: Streams, number: int) -> None:
        self.number = number
        self.ending: Ending | None = None
        self.opened = False
        """Whether the other end has accepted it; once it has, or never will, `on_settled` is called."""
        self.on_settled: Callable[[], None] = _ignore
        self._streams = streams
        self._window = Window(STREAM_WINDOW, STREAM_STEP)
        self._outgoing: deque[memoryview] = deque()
        self._outgoing_bytes = 0
        self._arrived: deque[bytes] = deque()
        self._on_data: OnData | None = None
        self._on_end: OnEnd | None = None
        self._held = False
        self._finishing = self._finish_sent = self._finish_heard = self._finish_told = False
        self._broken = False  # and our reader was not told yet
        self._room = asyncio.Event()
        self._room.set()

    # --- For whoever uses it -----------------------------------------------------------------------

    def accept(self) -> None:
        """Tell the other end that its stream is open."""
        self.opened = True
        self._streams.carrier.send(RelayCommand.CONNECTED, self.number, b"")

    def write(self, data: bytes) -> None:
        """Send this, after what was written before. A stream that is over or finished takes nothing more."""
        if self.ending is not None or self._finishing or not data:
            return
        self._outgoing.append(memoryview(data))
        self._outgoing_bytes += len(data)
        if self.full:
            self._room.clear()
        self._streams.wants_to_send(self)

    @property
    def full(self) -> bool:
        """Whether to wait for `room` before writing on."""
        return self._outgoing_bytes > BUFFER_BYTES

    async def room(self) -> None:
        """Return when the stream is not full any more, or over."""
        await self._room.wait()

    def set_reader(self, on_data: OnData, on_end: OnEnd) -> None:
        """Who gets what arrives. ``on_end("")``: the other side has finished; else the code of its end, which
        may still come after that."""
        self._on_data, self._on_end = on_data, on_end
        self._hand_over()

    def hold(self) -> None:
        """Hand over no more until `go_on`, but that the stream broke; the other end stops when its window is
        used up."""
        self._held = True

    def go_on(self) -> None:
        self._held = False
        self._hand_over()

    def finish(self) -> None:
        """No more is written; what was written still goes, and the other direction stays open."""
        if self.ending is None and not self._finishing:
            self._finishing = True
            self._streams.wants_to_send(self)

    def abort(self, code: str, sentence: str = "") -> None:
        """End it both ways at once: the other end is told why, our reader hears no more of it."""
        self._on_data = self._on_end = None
        self._arrived.clear()
        if self.ending is None:
            said = sentence.encode()[:SENTENCE_BYTES]
            self._streams.carrier.send(RelayCommand.END, self.number, code.encode() + b"\0" + said)
            self.over(Ending(code, sentence))

    # --- For `Streams` -----------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """Cells that wait for its reader, and data for as many as wait to be sent."""
        return len(self._arrived) + self._outgoing_bytes // DATA_BYTES

    @property
    def can_send(self) -> bool:
        if self._outgoing:
            return self._window.open
        return self._finishing and not self._finish_sent

    def send_next(self) -> bool:
        """Send one cell; whether it was one of data."""
        if not self._outgoing:
            self._finish_sent = True
            self._streams.carrier.send(RelayCommand.FINISH, self.number, b"")
            self._close_if_done()
            return False
        self._window.sent()
        data = self._next_data()
        self._streams.sent_bytes += len(data)
        self._streams.carrier.send(RelayCommand.DATA, self.number, data)
        if not self._room.is_set() and 2 * self._outgoing_bytes <= BUFFER_BYTES:
            self._room.set()
        return True

    def _next_data(self) -> bytes | memoryview:
        first = self._outgoing[0]
        if len(first) > DATA_BYTES:
            self._outgoing[0] = first[DATA_BYTES:]
            taken: bytes | memoryview = first[:DATA_BYTES]
        elif len(first) == DATA_BYTES or len(self._outgoing) == 1:
            taken = self._outgoing.popleft()
        else:
            taken = self._join_small()
        self._outgoing_bytes -= len(taken)
        return taken

    def _join_small(self) -> bytes:
        parts: list[memoryview] = []
        left = DATA_BYTES
        while left and self._outgoing:
            part = self._outgoing.popleft()
            if len(part) > left:
                self._outgoing.appendleft(part[left:])
                part = part[:left]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def was_accepted(self) -> None:
        """The other end has accepted it. Raises ProtocolError where that is not for it to do, or was done."""
        if self.opened or self._streams.accepts:
            raise ProtocolError("A stream was accepted that nobody waits for.")
        self.opened = True
        self.on_settled()

    def acknowledged(self) -> None:
        self._window.acknowledged()
        self._streams.wants_to_send(self)

    def take(self, data: bytes) -> None:
        """Data from the other end. Raises ProtocolError for more than the window lets it send."""
        if self._finish_heard:
            raise ProtocolError("Data came after the end of a stream.")
        if self._on_data is not None and not self._held and not self._arrived:
            self._on_data(data)
            self._taken()
            return
        if len(self._arrived) >= STREAM_WINDOW:
            raise ProtocolError("A stream was sent more than its window.")
        self._arrived.append(data)

    def take_finish(self) -> None:
        self._finish_heard = True
        self._hand_over()
        self._close_if_done()

    def over(self, ending: Ending, *, broken: bool = True) -> None:
        """It ended, both ways. What has arrived is still handed over, unless it broke and our reader holds:
        who never goes on would keep it for ever."""
        if self.ending is not None:
            return
        self.ending, self._broken = ending, broken
        if broken and self._held and self._arrived:
            self._arrived.clear()
            self._finish_told = True  # never, as it would not be true
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self._room.set()
        self._streams.forget(self)
        if not self.opened:
            self.on_settled()
        self._hand_over()

    def give_up(self, ending: Ending) -> None:
        """It is over, and its reader gets no more of what has arrived, but is told that something lacks."""
        if self._arrived:
            self._arrived.clear()
            self._finish_told = True  # never, as it would not be true
            self.ending, self._broken = ending, True
            self._hand_over()

    def _hand_over(self) -> None:
        while self._on_data is not None and self._arrived and not self._held:
            self._on_data(self._arrived.popleft())  # which may abort, or hold
            self._taken()
        if self._arrived:
            return
        if self._on_end is not None and self._finish_heard and not self._finish_told:
            self._finish_told = True
            self._on_end("")
        if self._on_end is not None and self._broken and self.ending is not None:
            self._broken = False
            self._on_end(self.ending.code)

    def _taken(self) -> None:
        if self._window.took() and self.ending is None:
            self._streams.carrier.send(RelayCommand.SENDME, self.number, b"")

    def _close_if_done(self) -> None:
        if self._finish_sent and self._finish_heard:
            self.over(Ending("done", ""), broken=False)


OnBegin = Callable[[Stream, bytes], None]
"""What the end of a circuit does about a new stream and the target that it names: `Stream.accept` or
`Stream.abort`, now or later."""


class Streams:
    """All streams at one end of a circuit."""

    def __init__(self, carrier: Carrier, on_begin: OnBegin | None = None) -> None:
        """``on_begin`` where the other end may open streams, which is so at the end of a path."""
        self.carrier = carrier
        self.sent_bytes = self.received_bytes = 0
        self._on_begin = on_begin
        self._window = Window(CIRCUIT_WINDOW, CIRCUIT_STEP)
        self._open: dict[int, Stream] = {}
        self._unread: WeakSet[Stream] = WeakSet()  # over, with something left for whoever reads them
        self._next = 1
        self._sending: dict[Stream, None] = {}  # in the order of their turns

    def __len__(self) -> int:
        return len(self._open)

    @property
    def accepts(self) -> bool:
        """Whether it is the other end that opens streams, and this one that accepts them."""
        return self._on_begin is not None

    @property
    def stored(self) -> int:
        """Cells of all streams, those included that are over and that somebody still reads."""
        return sum(stream.stored for stream in (*self._open.values(), *self._unread))

    def begin(self, target: bytes) -> Stream:
        """A new stream to what ``target`` means at the other end; `Stream.on_settled` tells when it is open.

        Raises:
            ProtocolError: there are as many streams as one circuit may carry.
        """
        if len(self._open) >= STREAMS_MAX:
            raise ProtocolError(f"A circuit carries at most {STREAMS_MAX} streams.")
        stream = self._open[self._next] = Stream(self, self._next)
        while self._next in self._open:
            self._next = self._next % (NUMBERS - 1) + 1
        self.carrier.send(RelayCommand.BEGIN, stream.number, target)
        return stream

    def handle(self, message: Message) -> None:
        """What came over the circuit. Raises ProtocolError for what its other end may not say."""
        if message.command is RelayCommand.DATA:
            self._take_data(message)
        elif message.command is RelayCommand.SENDME and message.stream == 0:
            self._window.acknowledged()
            self.pump()
        elif message.command is RelayCommand.BEGIN:
            self._begun(message)
        elif (stream := self._open.get(message.stream)) is not None:
            _HANDLERS[message.command](stream, message)
        # Else it is over at this end, and the other did not know yet.

    def _take_data(self, message: Message) -> None:
        if self._window.took():
            self.carrier.send(RelayCommand.SENDME, 0, b"")
        self.received_bytes += len(message.data)
        if (stream := self._open.get(message.stream)) is not None:
            stream.take(message.data)

    def _begun(self, message: Message) -> None:
        if self._on_begin is None or message.stream == 0 or message.stream in self._open:
            raise ProtocolError("A stream was begun where none may be.")
        stream = Stream(self, message.stream)
        if len(self._open) >= STREAMS_MAX:
            stream.abort("limit", f"A circuit carries at most {STREAMS_MAX} streams.")
            return
        self._open[message.stream] = stream
        self._on_begin(stream, message.data)

    def wants_to_send(self, stream: Stream) -> None:
        if stream.can_send and stream not in self._sending:
            self._sending[stream] = None
            self.pump()

    def pump(self) -> None:
        """Send what windows and the link allow, one cell of each stream in turn."""
        while self._sending and self._window.open and self.carrier.ready:
            stream = next(iter(self._sending))
            del self._sending[stream]
            if stream.can_send and stream.send_next():
                self._window.sent()
            if stream.can_send:
                self._sending[stream] = None

    def forget(self, stream: Stream) -> None:
        self._open.pop(stream.number, None)
        self._sending.pop(stream, None)
        if stream.stored:
            self._unread.add(stream)

    def give_up(self, ending: Ending) -> None:
        """Keep nothing for the readers of streams that are over."""
        for stream in list(self._unread):
            stream.give_up(ending)

    def close(self, ending: Ending) -> None:
        """The circuit is gone, and all its streams with it."""
        for stream in list(self._open.values()):
            stream.over(ending)


def _connected(stream: Stream, message: Message) -> None:
    stream.was_accepted()


def _finished(stream: Stream, message: Message) -> None:
    stream.take_finish()


def _ended(stream: Stream, message: Message) -> None:
    code, _, sentence = message.data.partition(b"\0")
    stream.over(Ending(_readable(code)[:40] or "ended", _readable(sentence)))


def _readable(text: bytes) -> str:
    """What the other end says goes on to the panel as our own words, which must be fit for a page."""
    return "".join(
        letter if letter.isprintable() else "\N{MIDDLE DOT}" for letter in text.decode(errors="replace")
    )


def _acknowledged(stream: Stream, message: Message) -> None:
    stream.acknowledged()


def _unexpected(stream: Stream, message: Message) -> None:
    raise ProtocolError(f"{message.command.name} was said of a stream.")


def _ignore() -> None:
    """Nobody asked to be told."""


_HANDLERS = {
    RelayCommand.CONNECTED: _connected,
    RelayCommand.FINISH: _finished,
    RelayCommand.END: _ended,
    RelayCommand.SENDME: _acknowledged,
    RelayCommand.EXTEND: _unexpected,
    RelayCommand.EXTENDED: _unexpected,
    RelayCommand.REFUSED: _unexpected,
}
