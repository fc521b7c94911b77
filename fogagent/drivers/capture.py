"""Catching what a program writes to its two streams, cut at a stated size.

Programs write into pipes, not into callbacks: measured, a wasmtime write callback into Python costs
300 µs a job, a pipe 20 µs. A pipe also slows a program that writes faster than anybody reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading

from fogagent.messages import LOG_PIECE_BYTES, MAX_OUTPUT_BYTES, Piece, Stream

PIPE_BYTES = 256 * 1024
TAIL_BYTES = 400


class CapturedStream:
    """One output stream: the pipe that programs write to, and what was read of it so far."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.written = 0  # by the program, what was dropped included
        self.tail = b""  # the last bytes of it, for drivers that read a reason there
        self._pieces: list[Piece] = []
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        # A wish: where the system grants no larger pipe, the program just waits for the reader sooner.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def path(self) -> str:
        """Where a WASI configuration can open the pipe for writing."""
        return f"/dev/fd/{self.writer}"

    @property
    def truncated(self) -> bool:
        return self.written > MAX_OUTPUT_BYTES

    def begin(self) -> None:
        self.collect()
        self._pieces.clear()
        self.written = 0
        self.tail = b""

    def collect(self) -> None:
        """Empty the pipe; what exceeds MAX_OUTPUT_BYTES is counted and dropped.

        Never more than a full pipe at once, or a program that writes without end would keep us here.
        """
        for _ in range(PIPE_BYTES // LOG_PIECE_BYTES + 1):
            data = self._read()
            kept = data[: max(0, MAX_OUTPUT_BYTES - self.written)]
            if kept:
                self._pieces.append(Piece(stream=self.stream, offset=self.written, data=kept))
            self.written += len(data)
            self.tail = (self.tail + data)[-TAIL_BYTES:]
            if len(data) < LOG_PIECE_BYTES:
                return

    def take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _read(self) -> bytes:
        try:
            return os.read(self._reader, LOG_PIECE_BYTES)
        except BlockingIOError:
            return b""


class Capture:
    """Both streams of the program that a worker runs. Safe to use from several threads."""

    def __init__(self) -> None:
        self.stdout = CapturedStream(Stream.STDOUT)
        self.stderr = CapturedStream(Stream.STDERR)
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Forget the last job's output."""
        with self._lock:
            self.stdout.begin()
            self.stderr.begin()

    def take(self) -> list[Piece]:
        """What was written since the last call, in order within each stream."""
        with self._lock:
            self.stdout.collect()
            self.stderr.collect()
            return self.stdout.take() + self.stderr.take()

    def stderr_tail(self) -> str:
        """The last characters that the program wrote to standard error so far."""
        with self._lock:
            self.stderr.collect()
            return self.stderr.tail.decode(errors="replace")

    @property
    def truncated(self) -> bool:
        return self.stdout.truncated or self.stderr.truncated
