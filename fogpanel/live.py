"""Live topics: a change in the database becomes a picture of the truth in every browser that looks.

A topic is "name" or "name:key". Its renderer makes HTML whose elements carry ``hx-swap-oob``; it runs
once per topic and tick in the hub's thread, however many browsers watch, so nothing in it may depend
on the viewer: who may look is asked once, when a browser subscribes. A missed push is mended by the next.

    @topic("node", allow=viewer, every_s=10, watched=watch_node)
    def render_node(key: str) -> str: ...

    changed("fleet", f"node:{node.id}")       # after the commit, here and in every other process

What grows at its end, such as a log, is a stream: ``render(key, after)`` gives what came after the
position ``after`` (0: all of it, to replace what the page shows) and the new position.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections

from fogpanel import metrics, wakes
from fogpanel.access import AnyUser, Role, allows

Allow: TypeAlias = Callable[[AnyUser, str], bool]
Watched: TypeAlias = Callable[[str], None]
Picture: TypeAlias = Callable[[str], str]
Growth: TypeAlias = Callable[[str, int], tuple[str, int]]

TICK_S = 0.25  # at most one rendering of a topic in this time
WATCHED_EVERY_S = 20.0
RETRY_S = 5.0  # after a rendering that failed, unless a change asks for it sooner
TOPICS_MAX = 20
TOLD_MOST = 50  # topics in one change

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A subscription that is not granted. ``code`` closes the socket, the sentence says why."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    allow: Allow
    render: Growth
    every_s: float | None  # rendered anew this often while somebody looks, changed or not
    pause_s: float  # and not more often than this, however much changes
    watched: Watched | None  # called with the key when somebody comes to look, and while they do


registry: dict[str, Topic] = {}


def topic(
    name: str,
    *,
    allow: Allow,
    every_s: float | None = None,
    pause_s: float = 0.0,
    watched: Watched | None = None,
) -> Callable[[Picture], Picture]:
    """Register ``render(key) -> html`` as what subscribers of ``name`` see.

    ``pause_s`` is for pictures of the whole fleet, which cost more the larger it is.
    """

    def register(render: Picture) -> Picture:
        def grow(key: str, after: int) -> tuple[str, int]:
            return render(key), 0

        registry[name] = Topic(name, allow, grow, every_s, pause_s, watched)
        return render

    return register


def stream(name: str, *, allow: Allow) -> Callable[[Growth], Growth]:
    """Register ``render(key, after) -> (html, position)`` for something that only grows."""

    def register(render: Growth) -> Growth:
        registry[name] = Topic(name, allow, render, None, 0.0, None)
        return render

    return register


def viewer(user: AnyUser, key: str) -> bool:
    """Whoever has a role, for topics that show what every role may see."""
    return allows(user, Role.VIEWER)


def changed(*topics: str) -> None:
    """These topics show something else now. Takes effect after the commit, in every process.

    A name without a key means the topic with each of its keys; many keys at once are told as that.
    """
    if len(topics) > TOLD_MOST:
        topics = tuple({name.partition(":")[0] for name in topics})
    wakes.wake("live", *topics)


def find(name: str) -> tuple[Topic, str]:
    """The topic and key that "name:key" means."""
    base, _, key = name.partition(":")
    if base not in registry:
        raise Refused(4404, f"topics: {base[:40]} is unknown.")
    return registry[base], key


class Subscriber(ABC):
    """A browser's socket as the hub sees it. Both methods are called in the hub's thread."""

    def __init__(self, user: AnyUser, topics: Iterable[str]) -> None:
        self.user = user
        self.topics = tuple(dict.fromkeys(topics))

    @abstractmethod
    def deliver(self, html: str) -> None: ...

    @abstractmethod
    def refuse(self, refusal: Refused) -> None: ...


@dataclass(slots=True)
class Watch:
    """One topic that somebody looks at, and how far each subscriber has seen it (None: not at all)."""

    topic: Topic
    key: str
    seen: dict[Subscriber, int | None] = field(default_factory=dict)
    stale: bool = False
    failed: bool = False
    rendered_at: float = float("-inf")
    told_at: float = float("-inf")

    @property
    def due_at(self) -> float | None:
        """When all who watch are to see it anew if nothing more changes; None: not before something does."""
        wait_s = self.topic.every_s
        if self.stale:
            wait_s = self.topic.pause_s
        elif self.failed:
            wait_s = max(RETRY_S, self.topic.pause_s)
        return None if wait_s is None else self.rendered_at + wait_s


class Hub:
    """Renders what changed and what is due, once a tick, and hands it to the subscribers.

    `tick` is called by one thread only; the other methods by any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._dirty: set[str] = set()
        self._coming: list[Subscriber] = []
        self._leaving: list[Subscriber] = []
        self._watches: dict[str, Watch] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run the ticks in a thread of this process; calling it again changes nothing."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    def mark_dirty(self, topics: Iterable[object]) -> None:
        with self._lock:
            self._dirty.update(str(name) for name in topics)
        self._something.set()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Its topics are checked, and shown as they are, in the next tick."""
        with self._lock:
            self._coming.append(subscriber)
        self._something.set()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._leaving.append(subscriber)

    def tick(self, now: float) -> None:
        """Render each topic that needs it once; ``now`` is in seconds of a clock that never goes back."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            coming, self._coming = self._coming, []
            leaving, self._leaving = self._leaving, []
        # What was taken out is noted before anything that can fail: it would be known to nobody else.
        for name, watch in self._watches.items():
            watch.stale = watch.stale or name in dirty or watch.topic.name in dirty
        for subscriber in leaving:
            self._drop(subscriber)
        self._admit_all(subscriber for subscriber in coming if subscriber not in leaving)
        if coming or leaving:
            metrics.SUBSCRIBERS.set(len({one for watch in self._watches.values() for one in watch.seen}))
        frames: dict[Subscriber, list[str]] = {}
        for watch in self._watches.values():
            self._tell_watched(watch, now)
            for subscriber, html in self._render(watch, now):
                frames.setdefault(subscriber, []).append(html)
        for subscriber, parts in frames.items():
            subscriber.deliver("\n".join(parts))

    def next_due(self) -> float | None:
        """When the next tick is needed though nothing changes; None while nobody looks."""
        moments = [watch.told_at + WATCHED_EVERY_S for watch in self._watches.values() if watch.topic.watched]
        moments += [watch.due_at for watch in self._watches.values() if watch.due_at is not None]
        return min(moments, default=None)

    def _admit_all(self, coming: Iterable[Subscriber]) -> None:
        """Admit or refuse each; whom the database gave no answer about comes again in the next tick."""
        waiting = []
        for subscriber in coming:
            try:
                self._admit(subscriber)
            except Refused as refusal:
                subscriber.refuse(refusal)
            except (OperationalError, InterfaceError) as error:
                log.warning("A subscription waits for the database", error=str(error))
                waiting.append(subscriber)
            except Exception:
                log.exception("A subscription could not be checked", topics=subscriber.topics)
                subscriber.refuse(Refused(4500, "topics: could not be checked; the panel's log says why."))
        if waiting:
            with self._lock:
                self._coming.extend(waiting)
            self._something.set()

    def _admit(self, subscriber: Subscriber) -> None:
        found = [(name, *self._granted(subscriber, name)) for name in subscriber.topics]
        for name, found_topic, key in found:
            watch = self._watches.setdefault(name, Watch(found_topic, key))
            watch.seen[subscriber] = None

    def _granted(self, subscriber: Subscriber, name: str) -> tuple[Topic, str]:
        found, key = find(name)
        if not found.allow(subscriber.user, key):
            raise Refused(4403, f"topics: your role does not let you see {name[:40]}.")
        return found, key

    def _drop(self, subscriber: Subscriber) -> None:
        for name in subscriber.topics:
            watch = self._watches.get(name)
            if watch is not None:
                watch.seen.pop(subscriber, None)
                if not watch.seen:
                    del self._watches[name]

    def _tell_watched(self, watch: Watch, now: float) -> None:
        if watch.topic.watched is None or now < watch.told_at + WATCHED_EVERY_S:
            return
        watch.told_at = now
        try:
            watch.topic.watched(watch.key)
        except Exception:
            log.exception("A live topic could not say that it is watched", topic=watch.topic.name)

    def _render(self, watch: Watch, now: float) -> list[tuple[Subscriber, str]]:
        """(subscriber, html) for those who have not seen the present picture."""
        for_all = watch.due_at is not None and now >= watch.due_at
        if for_all:
            watch.rendered_at, watch.stale, watch.failed = now, False, False
        pieces: dict[int, tuple[str, int]] = {}
        shown: list[tuple[Subscriber, str]] = []
        for subscriber, position in watch.seen.items():
            if not for_all and position is not None:
                continue
            after = position or 0
            if after not in pieces:
                if not pieces:
                    metrics.SHOWN.labels(watch.topic.name).inc()
                try:
                    metrics.RENDERS.labels(watch.topic.name).inc()
                    pieces[after] = watch.topic.render(watch.key, after)
                except Exception:
                    # The page keeps what it has, with its "as of", until the next change or RETRY_S later.
                    log.exception("A live topic could not be rendered", topic=watch.topic.name, key=watch.key)
                    watch.rendered_at, watch.failed = now, True
                    return shown
            html, watch.seen[subscriber] = pieces[after]
            if html:
                shown.append((subscriber, html))
        return shown

    def _run(self) -> None:
        while True:
            due = self.next_due()
            self._something.wait(None if due is None else max(0.0, due - time.monotonic()))
            self._something.clear()
            started = time.monotonic()
            close_old_connections()
            try:
                self.tick(started)
            except Exception:
                log.exception("A tick of the live hub failed; the next one goes on")
            finally:
                close_old_connections()
            time.sleep(max(0.0, TICK_S - (time.monotonic() - started)))


hub = Hub()
wakes.on_wake("live", hub.mark_dirty)
