"""One stream of a circuit, as either end of it sees it.

What is written waits for its turn and for the stream's window; what arrives waits for its reader. Each
direction may be finished alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from fogagent.overlay.onion.backlog import Backlog
from fogagent.overlay.onion.cells import DATA_BYTES, RelayCommand
from fogagent.overlay.onion.errors import ProtocolError
from fogagent.overlay.onion.windows import STREAM_STEP, STREAM_WINDOW, Window

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
    def peer(self) -> bytes:
        """Who is at the other end of the link that its cells come and go by."""

    @property
    def ready(self) -> bool:
        """Whether data should go out now; when it becomes true again, `Streams.pump` is called."""

    def send(self, command: RelayCommand, stream: int, data: bytes | memoryview) -> None: ...


class Siblings(Protocol):
    """All streams at one end of a circuit, as one of them sees them (`fogagent.overlay.onion.streams`)."""

    carrier: Carrier

    @property
    def accepts(self) -> bool:
        """Whether it is the other end that opens streams."""

    def wants_to_send(self, stream: Stream) -> None: ...
    def forget(self, stream: Stream) -> None: ...


class Stream:
    """One connection across the circuit. Data comes to the reader as it arrives, unless it holds."""

    def __init__(self, streams: Siblings, number: int) -> None:
        self.number = number
        self.ending: Ending | None = None
        self.opened = False
        """Whether the other end has accepted it; once it has, or never will, `on_settled` is called."""
        self.on_settled: Callable[[], None] = _ignore
        self._streams = streams
        self._window = Window(STREAM_WINDOW, STREAM_STEP)
        self._backlog = Backlog()
        self._arrived: deque[bytes] = deque()
        self._on_data: OnData | None = None
        self._on_end: OnEnd | None = None
        self._held = False
        self._finishing = self._finish_sent = self._finish_heard = self._finish_told = False
        self._broken = False  # and our reader was not told yet

    # --- For whoever uses it -----------------------------------------------------------------------

    @property
    def circuit(self) -> Carrier:
        return self._streams.carrier

    def accept(self) -> None:
        """Tell the other end that its stream is open."""
        self.opened = True
        self._streams.carrier.send(RelayCommand.CONNECTED, self.number, b"")

    def write(self, data: bytes) -> None:
        """Send this, after what was written before. A stream that is over or finished takes nothing more."""
        if self.ending is not None or self._finishing or not data:
            return
        self._backlog.add(data)
        self._streams.wants_to_send(self)

    @property
    def full(self) -> bool:
        """Whether to wait for `room` before writing on."""
        return self._backlog.full

    async def room(self) -> None:
        """Return when the stream is not full any more, or over."""
        await self._backlog.room()

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
        return len(self._arrived) + self._backlog.size // DATA_BYTES

    @property
    def can_send(self) -> bool:
        if self._backlog:
            return self._window.open
        return self._finishing and not self._finish_sent

    def send_next(self) -> int:
        """Send one cell; how much data is in it, 0 for one that says that no more comes."""
        if not self._backlog:
            self._finish_sent = True
            self._streams.carrier.send(RelayCommand.FINISH, self.number, b"")
            self._close_if_done()
            return 0
        self._window.sent()
        data = self._backlog.take()
        self._streams.carrier.send(RelayCommand.DATA, self.number, data)
        return len(data)

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
        self._backlog.clear()
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


def _ignore() -> None:
    """Nobody asked to be told."""
