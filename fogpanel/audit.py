"""Evidence of what happened: every change that a person would ask about leaves an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import Model
from django.utils import timezone

from fogpanel import live
from fogpanel.models import Event
from fogpanel.rows import create, insert_each

SENTENCE_LENGTH = 500


def record(
    kind: str,
    sentence: str,
    *,
    actor: AbstractBaseUser | AnonymousUser | None = None,
    subject: Model | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    level: str = Event.Level.INFO,
) -> Event:
    """Store that something happened, within the caller's transaction, and tell who watches.

    ``kind`` names it for filters ("node.joined"), ``sentence`` for people. ``before`` and ``after``
    hold what changed, as JSON values. No ``actor`` means that the panel itself did it.
    """
    event = _event(kind, sentence, actor, subject, before, after, level)
    create([event])
    live.changed("events")
    return event


def record_each(kind: str, sentences: Iterable[tuple[str, Model]], *, level: str = Event.Level.INFO) -> None:
    """Store that the same happened to many subjects, each with its sentence; the panel itself did it."""
    now = timezone.now()
    rows = [
        (now, level, kind, shorten(sentence), subject._meta.model_name, subject.pk)
        for sentence, subject in sentences
    ]
    insert_each(Event, ("at", "level", "kind", "sentence", "subject_kind", "subject_id"), rows)
    if rows:
        live.changed("events")


def _event(
    kind: str,
    sentence: str,
    actor: AbstractBaseUser | AnonymousUser | None,
    subject: Model | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    level: str,
) -> Event:
    who = actor if isinstance(actor, User) else None
    return Event(
        at=timezone.now(),
        level=level,
        kind=kind,
        sentence=shorten(sentence),
        actor=who,
        actor_name=who.get_username() if who else "",
        subject_kind=(subject._meta.model_name or "") if subject else "",
        subject_id=subject.pk if subject and isinstance(subject.pk, int) else None,
        before=before,
        after=after,
    )


def shorten(sentence: str, length: int = SENTENCE_LENGTH) -> str:
    """So that it fits, and without what PostgreSQL does not store: others have their say in many."""
    sentence = sentence.replace("\0", "")
    return sentence if len(sentence) <= length else sentence[: length - 1] + "…"
