"""Output of one attempt on its way into reports: pieces are merged, then cut to what a report holds."""

from __future__ import annotations

from collections.abc import Iterator

from fogagent.messages import LOG_PIECE_BYTES, Piece, Stream

REPORT_BYTES = 4 * LOG_PIECE_BYTES
"""Output in one report: a third more as base64, it stays well below MAX_FRAME_BYTES."""
REPORT_PIECES = 64


class OutputBuffer:
    """Keeps the order in which pieces of both streams came, as a person would have seen them."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self.size += len(piece.data)

    def take(self) -> list[list[Piece]]:
        """Everything kept, in groups of which each fits one report. The buffer is empty afterwards."""
        pieces, self._pieces, self.size = self._pieces, [], 0
        if len(pieces) <= 1:
            return [pieces] if pieces else []
        return list(_grouped(_merged(pieces)))


def pieces_of(stream: Stream, content: bytes) -> Iterator[Piece]:
    """A whole stream that is known already, as pieces."""
    for offset in range(0, len(content), LOG_PIECE_BYTES):
        yield Piece(stream=stream, offset=offset, data=content[offset : offset + LOG_PIECE_BYTES])


def _merged(pieces: list[Piece]) -> Iterator[Piece]:
    """Join neighbours that continue each other, up to LOG_PIECE_BYTES."""
    first, parts, size = pieces[0], [pieces[0].data], len(pieces[0].data)
    for piece in pieces[1:]:
        continues = piece.stream is first.stream and piece.offset == first.offset + size
        if continues and size + len(piece.data) <= LOG_PIECE_BYTES:
            parts.append(piece.data)
            size += len(piece.data)
        else:
            yield Piece(stream=first.stream, offset=first.offset, data=b"".join(parts))
            first, parts, size = piece, [piece.data], len(piece.data)
    yield Piece(stream=first.stream, offset=first.offset, data=b"".join(parts))


def _grouped(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and (size + len(piece.data) > REPORT_BYTES or len(group) == REPORT_PIECES):
            yield group
            group, size = [], 0
        group.append(piece)
        size += len(piece.data)
    if group:
        yield group
