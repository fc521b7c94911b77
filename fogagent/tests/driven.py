"""An agent's state machine, driven by hand, and what goes in and comes out of it."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from fogagent.drivers.base import Result
from fogagent.events import Began, Connected, Event, JobBegan, Moment, Output, Received, Ticked
from fogagent.instructions import Instruction, Keep, Report, Say, Send
from fogagent.messages import (
    MAX_SEALED_BYTES,
    Blob,
    Facts,
    Finished,
    FromPanel,
    Outcome,
    Piece,
    Run,
    Sealed,
    Stream,
    Welcome,
)
from fogagent.overlay.directory_holder import DirectoryHolder
from fogagent.reports import Kept
from fogagent.state import AgentState

FACTS = Facts(hostname="h", platform="p", version="1", cpu_millis=1000, memory_mb=512, disk_mb=1000)
WELCOME = Welcome(signature=bytes(64), node=7, name="edge-1", epoch=1, heartbeat_s=30, timeout_s=90)
EPOCH = 1_000_000.0
SHA = "a" * 64
BLOB = Blob(sha256=SHA, size=400_000)
SEALED = Sealed(reservation=7, wrapped=bytes(80))


class Driven:
    """A state machine with a clock of its own, driven by hand."""

    def __init__(self, kept: Iterable[Kept] = (), first_seq: int = 1, seed: int = 1) -> None:
        rng = Random(seed)
        self.state = AgentState(
            facts=FACTS, first_seq=first_seq, kept=kept, directory=DirectoryHolder(None, rng), rng=rng
        )
        self.tick = 100.0

    def __call__(self, event: Event) -> list[Instruction]:
        return self.state.handle(event, Moment(EPOCH + self.tick, self.tick))

    def after(self, seconds: float) -> list[Instruction]:
        self.tick += seconds
        return self(Ticked())

    def hears(self, *messages: FromPanel) -> list[Instruction]:
        return self(Received(list(messages)))


def connected(kept: Iterable[Kept] = (), first_seq: int = 1) -> Driven:
    agent = Driven(kept, first_seq)
    agent(Began())
    agent(Connected(WELCOME))
    return agent


def running(*attempts: int) -> Driven:
    agent = connected()
    for attempt in attempts:
        agent.hears(run(attempt))
        agent(JobBegan(attempt))
    return agent


def run(attempt: int, **changes: object) -> Run:
    order = {"order": attempt + 100, "attempt": attempt, "task": 1, "driver": "wasm", "timeout_s": 60.0}
    return Run(**(order | changes))  # type: ignore[arg-type]


def sealed_run(attempt: int, **changes: object) -> Run:
    given = {"sealed": SEALED, "payload": Blob(sha256=SHA, size=MAX_SEALED_BYTES)}
    return run(attempt, **(given | changes))


def result(outcome: Outcome = Outcome.SUCCEEDED, **changes: object) -> Result:
    given = {"outcome": outcome, "started_at": 1.0, "finished_at": 2.0, "exit_code": 0}
    return Result(**(given | changes))  # type: ignore[arg-type]


def printed(attempt: int, offset: int, data: bytes, stream: Stream = Stream.STDOUT) -> Output:
    return Output(attempt, Piece(stream=stream, offset=offset, data=data))


def reports(instructions: Iterable[Instruction]) -> list[Report]:
    return [one.report for one in instructions if isinstance(one, Keep)]


def sent(instructions: Iterable[Instruction]) -> list[object]:
    return [one.message for one in instructions if isinstance(one, Send)]


def finished(instructions: Iterable[Instruction]) -> Finished:
    (report,) = reports(instructions)
    assert isinstance(report, Finished)
    return report


def kinds(instructions: Iterable[Instruction]) -> list[type]:
    return [type(one) for one in instructions if not isinstance(one, Say)]
