"""What an agent asks the panel for to have a good relay directory, and what it goes by meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fogagent.events import (
    Began,
    Connected,
    DirectoryAccepted,
    DirectoryRefused,
    Disconnected,
    Event,
    Moment,
    Output,
    Received,
    Ticked,
)
from fogagent.instructions import Instruction, JudgeDirectory, KeepDirectory, Say, Send, UseDirectory
from fogagent.messages import (
    DIRECTORY_PART_BYTES,
    DirectoryNews,
    DirectoryPart,
    DirectoryWanted,
    FromPanel,
    Piece,
    Problem,
    Stream,
    Welcome,
)
from fogagent.overlay.directory import (
    GRACE_S,
    BadDirectory,
    Changes,
    Directory,
    Relay,
    apply,
    encode_changes,
    judge,
    reopen,
)
from fogagent.overlay.directory_holder import (
    KEEP_EVERY_S,
    LOOK_EVERY_S,
    MOST_PATIENCE_S,
    PATIENCE_S,
    DirectoryHolder,
)
from fogagent.overlay.directory_parts import MAX_PARTS, cut
from fogagent.tests.directories import LIFETIME_S, MADE, PANEL_KEY, by_identity, relay, signed

WELCOME = Welcome(signature=bytes(64), node=7, name="edge-1", epoch=1, heartbeat_s=30, timeout_s=90)
THREE = by_identity([relay(1), relay(2), relay(3)])
FOUR = by_identity([relay(1, region="eu"), relay(3), relay(4), relay(5)])
MANY = by_identity(relay(number, certificate=bytes(2048)) for number in range(1, 201))
EVERYTHING = [DirectoryWanted(since=0)]


class Driven:
    """A holder with a clock of its own, and a shell that judges at once where it is told to."""

    def __init__(self, held: Directory | None = None) -> None:
        self.holder = DirectoryHolder(held, Random(1))
        self.tick = 100.0
        self.used: Directory | None = None
        self.kept: list[Changes] = []

    @property
    def now(self) -> Moment:
        return Moment(MADE + self.tick, self.tick)

    def __call__(self, event: Event) -> list[Instruction]:
        instructions = self.holder.handle(event, self.now)
        for one in instructions:
            match one:
                case UseDirectory(directory):
                    self.used = directory
                case KeepDirectory(whole):
                    self.kept.append(whole)
        return instructions

    def after(self, seconds: float) -> list[Instruction]:
        self.tick += seconds
        return self(Ticked())

    def sleeps(self) -> list[Instruction]:
        """Wait until it wants to be woken."""
        wake_at = self.holder.wake_at()
        assert wake_at is not None
        return self.after(max(0.0, wake_at - self.tick))

    def asks(self) -> tuple[list[object], float]:
        """Wait until it asks; what it then asks, and after how many seconds."""
        since = self.tick
        while not (asked := wanted(self.sleeps())):
            pass
        return asked, self.tick - since

    def hears(self, *messages: FromPanel) -> list[Instruction]:
        return self(Received(list(messages)))

    def judges(self, instructions: list[Instruction]) -> list[Instruction]:
        """Do what the shell does with the answer that became whole."""
        (judged,) = [one for one in instructions if isinstance(one, JudgeDirectory)]
        try:
            directory, whole = judge(judged.held, judged.encoded, PANEL_KEY, self.now.at)
        except BadDirectory as error:
            return self(DirectoryRefused(error))
        return self(DirectoryAccepted(directory, whole))

    def gets(self, changes: Changes) -> list[Instruction]:
        return self.judges(self.hears(*cut(changes.version, encode_changes(changes))))


def connected(held: Directory | None = None) -> Driven:
    agent = Driven(held)
    agent(Began())
    agent(Connected(WELCOME))
    return agent


def with_three() -> Driven:
    agent = connected()
    agent.gets(signed(THREE, 7))
    return agent


def three() -> Directory:
    return apply(None, signed(THREE, 7), PANEL_KEY, MADE)


def wanted(instructions: list[Instruction]) -> list[object]:
    return [one.message for one in instructions if isinstance(one, Send)]


def said(instructions: list[Instruction]) -> str:
    return "\n".join(one.text for one in instructions if isinstance(one, Say))


def many_parts(version: int, relays: Mapping[bytes, Relay] = MANY) -> list[DirectoryPart]:
    parts = cut(version, encode_changes(signed(relays, version)))
    assert len(parts) > 2
    return parts


# --- Asking and getting ----------------------------------------------------------------------------


def test_on_connect_it_asks_for_what_it_lacks() -> None:
    agent = Driven()
    assert agent(Began()) == []
    assert agent(Connected(WELCOME)) == [Send(DirectoryWanted(since=0))]
    assert wanted(Driven(three())(Connected(WELCOME))) == [DirectoryWanted(since=7)]


def test_an_answer_is_judged_used_and_kept() -> None:
    agent = connected()
    encoded = encode_changes(signed(THREE, 7))
    (judged,) = agent.hears(*cut(7, encoded))
    assert judged == JudgeDirectory(None, encoded)
    accepted = agent.judges([judged])
    assert agent.used == agent.holder.held == three()
    assert agent.kept == [signed(dict(sorted(THREE.items())), 7)]
    assert wanted(accepted) == []
    assert "version 7, 3 relays" in said(accepted)


def test_what_changed_is_applied_to_what_is_held() -> None:
    agent = with_three()
    assert wanted(agent.hears(DirectoryNews(version=9))) == [DirectoryWanted(since=7)]
    agent.gets(signed(FOUR, 9, base=7, before=THREE))
    assert agent.used is not None
    assert (agent.used.version, agent.used.relays) == (9, FOUR)


def test_an_answer_in_many_parts_comes_in_many_frames() -> None:
    agent = connected()
    *parts, last = many_parts(7)
    for part in parts:
        assert agent.hears(part) == []
    agent.judges(agent.hears(last))
    assert agent.used is not None
    assert agent.used.relays == MANY


def test_while_nothing_is_newer_it_does_not_ask() -> None:
    for agent in (connected(three()), with_three()):
        assert agent.hears(DirectoryNews(version=7)) == []
        assert wanted(agent.after(2 * MOST_PATIENCE_S)) == []
    assert connected().hears(DirectoryNews(version=0)) == []


def test_it_asks_once_however_often_it_hears_of_news() -> None:
    agent = with_three()
    assert wanted(agent.hears(DirectoryNews(version=9), DirectoryNews(version=9))) == [
        DirectoryWanted(since=7)
    ]
    assert agent.hears(DirectoryNews(version=10)) == []


def test_news_shortens_the_wait_for_a_panel_that_did_not_answer() -> None:
    agent = connected()
    for _ in range(8):
        agent.asks()
    assert agent.hears(DirectoryNews(version=1)) == []
    asked, after_s = agent.asks()
    assert (asked, after_s) == (EVERYTHING, PATIENCE_S)


def test_what_became_news_while_an_answer_came_is_asked_for_after_it() -> None:
    agent = connected()
    parts = many_parts(7)
    agent.hears(*parts[:-1], DirectoryNews(version=8))
    judged = agent.hears(parts[-1])
    assert agent.hears(DirectoryNews(version=9)) == []
    assert agent.hears(*cut(9, encode_changes(signed(FOUR, 9)))) == []  # not two at a time
    assert wanted(agent.judges(judged)) == [DirectoryWanted(since=7)]


def test_most_events_mean_nothing_to_it() -> None:
    assert connected()(Output(5, Piece(stream=Stream.STDOUT, offset=0, data=b"x"))) == []


# --- What goes wrong on the way --------------------------------------------------------------------


def test_a_question_without_an_answer_is_repeated_ever_more_seldom() -> None:
    agent = connected()
    for number in range(10):
        asked, after_s = agent.asks()
        full_s = min(MOST_PATIENCE_S, PATIENCE_S * 2**number)
        assert asked == EVERYTHING
        assert full_s / 2 <= after_s <= full_s
    agent.gets(signed(THREE, 7))
    agent.hears(DirectoryNews(version=9))
    asked, after_s = agent.asks()
    assert asked == [DirectoryWanted(since=7)]
    assert after_s <= PATIENCE_S


def test_an_answer_that_stops_half_way_is_asked_for_again_and_its_rest_worth_nothing() -> None:
    agent = connected()
    parts = many_parts(7)
    agent.hears(parts[0])
    assert wanted(agent.after(PATIENCE_S - 1)) == []
    agent.hears(parts[1])
    assert wanted(agent.after(PATIENCE_S - 1)) == []  # it does move
    assert wanted(agent.after(1)) == EVERYTHING
    assert agent.hears(*parts[2:]) == []
    agent.judges(agent.hears(*parts))
    assert agent.used is not None


def test_parts_out_of_order_do_not_make_an_answer_but_do_not_hinder_the_next() -> None:
    agent = connected()
    parts = many_parts(7)
    assert agent.hears(*reversed(parts)) == []
    assert agent.hears(parts[0], *parts[2:]) == []
    assert agent.asks()[0] == EVERYTHING
    agent.judges(agent.hears(*parts))
    assert agent.used is not None


def test_a_new_answer_replaces_a_half_one() -> None:
    agent = connected()
    agent.hears(*many_parts(7)[:-1])
    agent.gets(signed(FOUR, 9))
    assert agent.used is not None
    assert agent.used.version == 9


def test_an_answer_too_large_for_memory_is_refused_before_it_came() -> None:
    agent = connected()
    part = DirectoryPart(version=7, index=0, count=MAX_PARTS + 1, data=bytes(DIRECTORY_PART_BYTES))
    assert "parts" in said(agent.hears(part))
    assert agent.hears(msgspec.structs.replace(part, index=1)) == []
    assert agent.asks()[0] == EVERYTHING


def test_half_an_answer_is_worth_nothing_on_the_next_connection() -> None:
    agent = connected()
    parts = many_parts(7)
    agent.hears(*parts[:-1])
    agent(Disconnected("gone"))
    assert agent.holder.wake_at() is None
    assert not agent.holder._assembly  # nor does it fill memory until then
    assert wanted(agent(Connected(WELCOME))) == EVERYTHING
    assert agent.hears(parts[-1]) == []


def test_an_answer_judged_after_the_connection_ended_is_used_and_nothing_is_asked() -> None:
    agent = connected()
    judged = agent.hears(DirectoryNews(version=9), *cut(7, encode_changes(signed(THREE, 7))))
    agent(Disconnected("gone"))
    assert wanted(agent.judges(judged)) == []
    assert agent.used == three()
    assert wanted(agent.after(MOST_PATIENCE_S)) == []


def test_an_answer_refused_after_the_connection_ended_is_asked_for_on_the_next() -> None:
    agent = connected()
    wrong = msgspec.structs.replace(signed(THREE, 7), signature=bytes(64))
    judged = agent.hears(*cut(7, encode_changes(wrong)))
    agent(Disconnected("gone"))
    assert wanted(agent.judges(judged)) == []
    assert agent.holder.wake_at() is None
    assert wanted(agent(Connected(WELCOME))) == EVERYTHING


def test_what_the_panel_promised_on_an_earlier_connection_does_not_count() -> None:
    agent = connected()
    agent.hears(DirectoryNews(version=9))
    agent(Disconnected("gone"))
    agent(Connected(WELCOME))
    assert wanted(agent.gets(signed(THREE, 7))) == []


def test_after_a_fatal_problem_it_is_silent() -> None:
    agent = connected()
    part = many_parts(7)[0]
    agent.hears(Problem(code="replaced", sentence="A newer connection came.", fatal=True), part)
    assert wanted(agent.after(MOST_PATIENCE_S)) == []
    assert agent.holder.wake_at() is None


# --- What is refused -------------------------------------------------------------------------------


def mismatches() -> list[Changes]:
    digest_off = msgspec.structs.replace(signed(FOUR, 9, base=7, before=THREE), removed=[])
    return [digest_off, signed(FOUR, 9, base=6, before=THREE)]


@pytest.mark.parametrize("changes", mismatches())
def test_where_changes_do_not_fit_everything_is_asked_for_at_once_but_once(changes: Changes) -> None:
    agent = with_three()
    agent.hears(DirectoryNews(version=9))
    refused = agent.gets(changes)
    assert wanted(refused) == EVERYTHING
    assert "Asking for all of it." in said(refused)
    assert agent.used == three()
    wrong = msgspec.structs.replace(signed(FOUR, 9), upserts=[])
    for number in range(2, 6):
        assert wanted(agent.gets(wrong)) == []
        asked, after_s = agent.asks()
        assert asked == EVERYTHING
        assert after_s >= PATIENCE_S * 2**number / 2
    agent.gets(signed(FOUR, 9))
    assert agent.used is not None
    assert agent.used.relays == FOUR
    assert wanted(agent.hears(DirectoryNews(version=10))) == [DirectoryWanted(since=9)]


def test_news_does_not_shorten_the_wait_after_a_refusal() -> None:
    agent = with_three()
    for _ in range(4):
        agent.gets(mismatches()[0])
        agent.asks()
    agent.gets(mismatches()[0])
    assert agent.hears(DirectoryNews(version=10)) == []
    asked, after_s = agent.asks()
    assert asked == EVERYTHING
    assert after_s > PATIENCE_S


def test_what_is_forged_or_expired_is_not_used_and_asked_for_later() -> None:
    agent = with_three()
    forged = msgspec.structs.replace(signed(FOUR, 9, base=7, before=THREE), signature=bytes(64))
    expired = signed(FOUR, 9, base=7, before=THREE, expires_at=MADE + 1)
    for changes, reason in ((forged, "not signed"), (expired, "expired")):
        refused = agent.gets(changes)
        assert reason in said(refused)
        assert wanted(refused) == []
        assert agent.used == agent.holder.held == three()
        assert agent.asks()[0] == [DirectoryWanted(since=7)]
    assert [whole.version for whole in agent.kept] == [7]


def test_an_answer_that_comes_twice_is_no_trouble() -> None:
    agent = with_three()
    again = agent.gets(signed(THREE, 7))
    assert again == []
    assert wanted(agent.after(MOST_PATIENCE_S)) == []


def test_an_old_answer_brings_nothing_back() -> None:
    agent = with_three()
    agent.gets(signed(FOUR, 9))
    agent.gets(signed(THREE, 8))
    assert agent.used is not None
    assert agent.used.version == 9


def test_a_panel_that_promises_more_than_it_gives_is_asked_ever_more_seldom() -> None:
    agent = with_three()
    agent.hears(DirectoryNews(version=9))
    assert "not newer" in said(agent.gets(signed(THREE, 7)))
    asked, after_s = agent.asks()
    assert asked == [DirectoryWanted(since=7)]
    assert after_s >= PATIENCE_S


def test_a_panel_that_was_set_back_is_told_of_once() -> None:
    agent = with_three()
    assert "goes on with that" in said(agent.hears(DirectoryNews(version=3)))
    assert agent.hears(DirectoryNews(version=3)) == []
    assert agent.used == three()


# --- Age, and the disk -----------------------------------------------------------------------------


def test_directories_that_follow_closely_are_not_all_written() -> None:
    agent = with_three()
    for version in (8, 9, 10):
        agent.gets(signed(FOUR, version, base=version - 1, before=THREE if version == 8 else FOUR))
    assert [whole.version for whole in agent.kept] == [7]
    agent.sleeps()
    assert [whole.version for whole in agent.kept] == [7, 10]
    assert reopen(agent.kept[-1], PANEL_KEY) == agent.used
    assert agent.tick == pytest.approx(100.0 + KEEP_EVERY_S)
    agent.after(KEEP_EVERY_S)
    agent.gets(signed(FOUR, 11))
    assert [whole.version for whole in agent.kept] == [7, 10, 11]


def test_an_expired_directory_is_used_with_a_warning_until_it_is_gone() -> None:
    agent = with_three()
    agent(Disconnected("gone"))
    warnings = []
    while agent.used is not None:
        warnings.append(said(agent.sleeps()))
    assert agent.tick == pytest.approx(LIFETIME_S + GRACE_S, abs=LOOK_EVERY_S)
    expired, gone = filter(None, warnings)
    assert "has expired" in expired and "for another 7 days" in expired
    assert "is 8 days old: too old" in gone
    assert agent.holder.held is None
    assert agent.holder.wake_at() is None
    assert wanted(agent(Connected(WELCOME))) == EVERYTHING


def test_when_it_is_gone_while_the_panel_is_there_everything_is_asked_for() -> None:
    agent = with_three()
    assert agent.asks()[0] == EVERYTHING
    assert agent.tick == pytest.approx(LIFETIME_S + GRACE_S, abs=LOOK_EVERY_S)


def test_a_newer_one_ends_the_warnings() -> None:
    agent = with_three()
    agent.after(LIFETIME_S)
    later = agent.now.at
    agent.gets(signed(FOUR, 9, made_at=later, expires_at=later + LIFETIME_S))
    assert "has expired" not in said(agent.after(LIFETIME_S - 1))
    assert "has expired" in said(agent.after(LOOK_EVERY_S))


def test_what_an_earlier_run_kept_is_used_at_once() -> None:
    agent = Driven(three())
    assert "version 7, 3 relays) is 100 s old" in said(agent(Began()))
    assert agent.used == three()
    assert agent.kept == []


def test_what_an_earlier_run_kept_too_long_ago_is_not() -> None:
    agent = Driven(three())
    agent.tick = LIFETIME_S + GRACE_S
    assert "too old" in said(agent(Began()))
    assert agent.used is None
    assert wanted(agent(Connected(WELCOME))) == EVERYTHING


# --- Any order of events ---------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Whatever the network and a confused panel do, what is used was signed, and never grows older.

    And as soon as an honest panel answers one question, the agent has what the panel has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.agent = Driven()
        self.history: dict[int, Mapping[bytes, Relay]] = {1: {}}
        self.questions: list[int] = []
        self.judging: list[Instruction] = []
        self.connected = False
        self.do(Began())

    @property
    def version(self) -> int:
        return max(self.history)

    def do(self, event: Event) -> None:
        self.note(self.agent(event))

    def note(self, instructions: list[Instruction]) -> None:
        for one in instructions:
            match one:
                case Send(DirectoryWanted(since)):
                    assert self.connected
                    self.questions.append(since)
                case JudgeDirectory():
                    assert not self.judging
                    self.judging = [one]

    def answer(self, since: int) -> Changes:
        return signed(
            self.history[self.version],
            self.version,
            base=since,
            before=self.history.get(since, {}),
            expires_at=MADE + 10**9,
        )

    @rule(numbers=st.sets(st.integers(1, 6)), region=st.sampled_from(["", "eu"]))
    def something_changes(self, numbers: set[int], region: str) -> None:
        self.history[self.version + 1] = by_identity(
            relay(number, region=region) for number in sorted(numbers)
        )

    @rule()
    def connect(self) -> None:
        if not self.connected:
            self.connected, self.questions = True, []
            self.do(Connected(WELCOME))

    @rule()
    def disconnect(self) -> None:
        self.connected = False
        self.do(Disconnected("gone"))

    @precondition(lambda self: self.connected)
    @rule(lag=st.integers(0, 2))
    def news(self, lag: int) -> None:
        self.do(Received([DirectoryNews(version=max(1, self.version - lag))]))

    @precondition(lambda self: self.connected)
    @rule(
        since=st.integers(0, 9), flip=st.integers(0, 2000), index=st.integers(0, 2), count=st.integers(1, 3)
    )
    def nonsense(self, since: int, flip: int, index: int, count: int) -> None:
        encoded = bytearray(encode_changes(self.answer(since)))
        encoded[flip % len(encoded)] ^= 1
        self.do(
            Received([DirectoryPart(version=self.version, index=index, count=count, data=bytes(encoded))])
        )

    @precondition(lambda self: self.judging)
    @rule()
    def judge(self) -> None:
        judging, self.judging = self.judging, []
        self.note(self.agent.judges(judging))

    @rule(seconds=st.sampled_from([1.0, 70.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.note(self.agent.after(seconds))

    @precondition(lambda self: self.connected and self.questions and not self.judging)
    @rule()
    def honest_answer(self) -> None:
        changes = self.answer(self.questions[-1])
        self.questions = []
        self.do(Received([*cut(changes.version, encode_changes(changes))]))
        if self.judging:
            self.judge()
        assert self.agent.used is not None
        assert self.agent.used.version == self.version

    @invariant()
    def what_is_used_is_what_the_panel_had(self) -> None:
        used = self.agent.used
        assert used == self.agent.holder.held
        if used is not None:
            assert used.relays == self.history[used.version]
            assert used.version >= getattr(self, "highest", 0)
            self.highest = used.version


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
