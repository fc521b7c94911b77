"""The hub of live topics: what it renders, how often, and for whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError

from fogpanel import live, metrics, wakes
from fogpanel.access import AnyUser


class Looking(live.Subscriber):
    """A browser that keeps what it is sent."""

    def __init__(self, *topics: str) -> None:
        super().__init__(AnonymousUser(), topics)
        self.frames: list[str] = []
        self.refusals: list[live.Refused] = []

    def deliver(self, html: str) -> None:
        self.frames.append(html)

    def refuse(self, refusal: live.Refused) -> None:
        self.refusals.append(refusal)


def everyone(user: AnyUser, key: str) -> bool:
    return True


@pytest.fixture
def renders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topics "page" (any key), "clock" (every 5 s) and "secret"; what was rendered, in order."""
    monkeypatch.setattr(live, "registry", {})
    rendered: list[str] = []

    @live.topic("page", allow=everyone)
    def render_page(key: str) -> str:
        rendered.append(f"page:{key}")
        return f"<p>{key}</p>"

    @live.topic("clock", allow=everyone, every_s=5)
    def render_clock(key: str) -> str:
        rendered.append("clock")
        return "<time></time>"

    @live.topic("secret", allow=lambda user, key: False)
    def render_secret(key: str) -> str:
        raise AssertionError("nobody may see it")

    return rendered


def hub_with(*subscribers: Looking) -> live.Hub:
    hub = live.Hub()
    for subscriber in subscribers:
        hub.subscribe(subscriber)
    hub.tick(0.0)
    return hub


def frames(subscribers: Iterable[Looking]) -> list[list[str]]:
    return [subscriber.frames for subscriber in subscribers]


def test_the_present_picture_is_sent_on_subscription(renders: list[str]) -> None:
    browser = Looking("page:1")
    hub_with(browser)
    assert browser.frames == ["<p>1</p>"]


def test_one_rendering_serves_all_who_look(renders: list[str]) -> None:
    browsers = [Looking("page:1") for _ in range(20)]
    hub = hub_with(*browsers)
    hub.mark_dirty(["page:1"])
    hub.tick(1.0)
    assert renders == ["page:1", "page:1"]
    assert frames(browsers) == [["<p>1</p>", "<p>1</p>"]] * 20


def counted(name: str, topic: str) -> float:
    return metrics.registry.get_sample_value(f"fogpanel_live_{name}_total", {"topic": topic}) or 0.0


def test_renders_are_counted_beside_how_often_a_topic_was_shown(renders: list[str]) -> None:
    before = [counted(name, "page") for name in ("renders", "shown")]
    hub = hub_with(*[Looking("page:1") for _ in range(20)], Looking("page:2"))
    hub.mark_dirty(["page:1"])
    hub.tick(1.0)
    assert [counted(name, "page") - was for name, was in zip(("renders", "shown"), before, strict=True)] == [
        3,
        3,
    ]


def test_several_changes_in_a_tick_are_one_rendering(renders: list[str]) -> None:
    hub = hub_with(Looking("page:1"))
    for _ in range(5):
        hub.mark_dirty(["page:1"])
    hub.tick(1.0)
    assert renders == ["page:1", "page:1"]


def test_what_nobody_watches_is_not_rendered(renders: list[str]) -> None:
    hub = hub_with(Looking("page:1"))
    hub.mark_dirty(["page:2", "clock", "no-such-topic"])
    hub.tick(1.0)
    assert renders == ["page:1"]


def test_a_bare_name_means_every_key(renders: list[str]) -> None:
    hub = hub_with(Looking("page:1"), Looking("page:2"))
    hub.mark_dirty(["page"])
    hub.tick(1.0)
    assert sorted(renders) == ["page:1", "page:1", "page:2", "page:2"]


def test_topics_of_a_tick_share_a_frame(renders: list[str]) -> None:
    browser = Looking("page:1", "clock")
    hub_with(browser)
    assert browser.frames == ["<p>1</p>\n<time></time>"]


def test_a_newcomer_costs_the_others_nothing(renders: list[str]) -> None:
    old, new = Looking("page:1"), Looking("page:1")
    hub = hub_with(old)
    hub.subscribe(new)
    hub.tick(1.0)
    assert frames([old, new]) == [["<p>1</p>"], ["<p>1</p>"]]


def test_some_topics_are_rendered_again_though_nothing_changed(renders: list[str]) -> None:
    browser = Looking("clock")
    hub = hub_with(browser)
    assert hub.next_due() == 5.0
    hub.tick(4.9)
    hub.tick(5.0)
    assert len(browser.frames) == 2


def test_an_expensive_picture_is_not_made_more_often_than_it_may(renders: list[str]) -> None:
    @live.topic("map", allow=everyone, pause_s=2)
    def render(key: str) -> str:
        renders.append("map")
        return "<i></i>"

    hub = hub_with(Looking("map"))
    hub.mark_dirty(["map"])
    hub.tick(1.0)
    hub.mark_dirty(["map"])
    hub.tick(1.5)
    assert (renders, hub.next_due()) == (["map", "map"], 3.0)
    hub.tick(3.0)
    hub.tick(9.0)
    assert (renders, hub.next_due()) == (["map"] * 3, None)


def test_nothing_is_due_once_all_have_left(renders: list[str]) -> None:
    browser = Looking("clock")
    hub = hub_with(browser)
    hub.unsubscribe(browser)
    hub.tick(10.0)
    assert hub.next_due() is None
    assert renders == ["clock"]


@pytest.mark.parametrize(("name", "code"), [("secret", 4403), ("nothing:3", 4404)])
def test_a_refusal_names_the_topic_and_shows_nothing(renders: list[str], name: str, code: int) -> None:
    browser = Looking("page:1", name)
    hub_with(browser)
    [refusal] = browser.refusals
    assert refusal.code == code
    assert name.partition(":")[0] in str(refusal)
    assert browser.frames == []


def test_a_renderer_that_fails_disturbs_no_other(renders: list[str]) -> None:
    answers: Iterator[str | Exception] = iter(["<b>one</b>", RuntimeError("no"), "<b>three</b>"])

    @live.topic("shaky", allow=everyone)
    def render(key: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    browser = Looking("shaky", "page:1")
    hub = hub_with(browser)
    for now in (1.0, 2.0):
        hub.mark_dirty(["shaky", "page:1"])
        hub.tick(now)
    assert browser.frames == ["<b>one</b>\n<p>1</p>", "<p>1</p>", "<b>three</b>\n<p>1</p>"]


def test_a_failed_rendering_is_tried_again_though_nothing_changes(renders: list[str]) -> None:
    answers: Iterator[str | None] = iter(["<b>one</b>", None, "<b>two</b>"])

    @live.topic("locked", allow=everyone)
    def render(key: str) -> str:
        if (answer := next(answers)) is None:
            raise OperationalError("database is locked")
        return answer

    browser = Looking("locked")
    hub = hub_with(browser)
    hub.mark_dirty(["locked"])
    hub.tick(1.0)
    assert hub.next_due() == 1.0 + live.RETRY_S
    hub.tick(1.0 + live.RETRY_S)
    assert (browser.frames, hub.next_due()) == (["<b>one</b>", "<b>two</b>"], None)


class Busy:
    """A rule for who may look that asks a database, which is locked the first ``times``."""

    def __init__(self, error: Exception, times: int = 1) -> None:
        self.error, self.times = error, times

    def __call__(self, user: AnyUser, key: str) -> bool:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return True


@pytest.fixture
def locked(renders: list[str]) -> None:
    live.topic("locked", allow=Busy(OperationalError("database is locked")))(lambda key: "<b>open</b>")


@pytest.mark.usefixtures("locked")
def test_who_comes_while_the_database_is_locked_is_admitted_later() -> None:
    unlucky, lucky = Looking("locked"), Looking("page:1")
    hub = hub_with(unlucky, lucky)
    assert frames([unlucky, lucky]) == [[], ["<p>1</p>"]]
    hub.tick(1.0)
    assert frames([unlucky, lucky]) == [["<b>open</b>"], ["<p>1</p>"]]


@pytest.mark.usefixtures("locked")
def test_a_locked_database_loses_no_change_and_no_departure() -> None:
    stays, leaves = Looking("page:1"), Looking("page:1")
    hub = hub_with(stays, leaves)
    hub.subscribe(Looking("locked"))
    hub.unsubscribe(leaves)
    hub.mark_dirty(["page:1"])
    hub.tick(1.0)
    assert frames([stays, leaves]) == [["<p>1</p>", "<p>1</p>"], ["<p>1</p>"]]


@pytest.mark.usefixtures("locked")
def test_who_left_before_being_admitted_is_not_watched() -> None:
    gone, quick = Looking("locked"), Looking("page:1")
    hub = hub_with(gone)
    hub.unsubscribe(gone)
    hub.subscribe(quick)
    hub.unsubscribe(quick)
    hub.tick(1.0)
    assert frames([gone, quick]) == [[], []]
    assert not hub._watches


def test_a_rule_that_fails_closes_the_socket_and_disturbs_no_other(renders: list[str]) -> None:
    live.topic("odd", allow=Busy(ValueError("no number"), times=9))(lambda key: "<b></b>")
    odd, other = Looking("odd:x"), Looking("page:1")
    hub_with(odd, other)
    assert [refusal.code for refusal in odd.refusals] == [4500]
    assert other.frames == ["<p>1</p>"]


def test_a_stream_sends_what_is_new_and_all_of_it_to_newcomers(renders: list[str]) -> None:
    lines = ["a", "b"]

    @live.stream("log", allow=everyone)
    def render(key: str, after: int) -> tuple[str, int]:
        return "".join(lines[after:]), len(lines)

    early, late = Looking("log:1"), Looking("log:1")
    hub = hub_with(early)
    lines.append("c")
    hub.subscribe(late)
    hub.tick(1.0)
    hub.mark_dirty(["log:1"])
    hub.tick(2.0)
    lines.append("d")
    hub.mark_dirty(["log:1"])
    hub.tick(3.0)
    assert frames([early, late]) == [["ab", "c", "d"], ["abc", "d"]]


def test_whoever_is_watched_is_told_at_once_and_now_and_then(renders: list[str]) -> None:
    told: list[str] = []

    @live.topic("node", allow=everyone, watched=told.append)
    def render(key: str) -> str:
        return "<i></i>"

    hub = hub_with(Looking("node:7"))
    assert told == ["7"]
    assert hub.next_due() == live.WATCHED_EVERY_S
    hub.tick(live.WATCHED_EVERY_S - 1)
    hub.tick(live.WATCHED_EVERY_S)
    assert told == ["7", "7"]


@pytest.mark.django_db(transaction=True)
def test_a_change_reaches_the_hub_after_its_commit() -> None:
    from django.db import transaction

    heard: set[object] = set()
    wakes.on_wake("live", heard.update)
    with transaction.atomic():
        live.changed("page:1", "clock")
        assert heard == set()
    assert heard == {"page:1", "clock"}


def test_many_changes_at_once_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(wakes, "wake", lambda kind, *names: told.extend(names))
    live.changed("clock", *(f"page:{n}" for n in range(live.TOLD_MOST)))
    assert sorted(told) == ["clock", "page"]
