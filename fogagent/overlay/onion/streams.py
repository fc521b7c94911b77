"""Streams: many connections on one circuit, at either of its ends.

Each stream has a window of its own beside that of the circuit (`windows`), and those that have
something to send take turns, a cell each. Nothing here waits: what cannot go yet goes in `pump`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from weakref import WeakSet

from fogagent.overlay.onion.cells import Message, RelayCommand
from fogagent.overlay.onion.errors import ProtocolError
from fogagent.overlay.onion.stream import Carrier, Ending, Stream
from fogagent.overlay.onion.windows import CIRCUIT_STEP, CIRCUIT_WINDOW, Window

STREAMS_MAX = 256
"""Streams that one circuit may carry at once."""
NUMBERS = 2**16

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
            if stream.can_send and (size := stream.send_next()):
                self._window.sent()
                self.sent_bytes += size
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
        with ExitStack() as each:  # also when the reader of one raises
            for stream in self._open.values():
                each.callback(stream.over, ending)


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


_HANDLERS = {
    RelayCommand.CONNECTED: _connected,
    RelayCommand.FINISH: _finished,
    RelayCommand.END: _ended,
    RelayCommand.SENDME: _acknowledged,
    RelayCommand.EXTEND: _unexpected,
    RelayCommand.EXTENDED: _unexpected,
    RelayCommand.REFUSED: _unexpected,
}
