from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from fogpanel import audit
from fogpanel.models import Event

pytestmark = pytest.mark.django_db


def test_an_event_says_who_did_what_to_whom(operator: User, viewer: User) -> None:
    audit.record(
        "user.changed",
        "The role changed",
        actor=operator,
        subject=viewer,
        before={"role": 1},
        after={"role": 2},
    )
    event = Event.objects.get()
    assert (event.kind, event.sentence, event.level) == ("user.changed", "The role changed", "info")
    assert (event.actor, event.actor_name) == (operator, operator.username)
    assert (event.subject_kind, event.subject_id) == ("user", viewer.pk)
    assert (event.before, event.after) == ({"role": 1}, {"role": 2})


def test_an_event_outlives_its_actor(operator: User) -> None:
    audit.record("node.removed", "Gone", actor=operator)
    operator.delete()
    assert Event.objects.get().actor_name == "some-operator"


def test_what_the_panel_did_itself_has_no_actor() -> None:
    audit.record("node.offline", "Silent", actor=AnonymousUser(), level="warning")
    assert (Event.objects.get().actor, Event.objects.get().actor_name) == (None, "")


def test_a_long_sentence_is_cut_not_refused() -> None:
    audit.record("node.offline", "x" * 600)
    assert Event.objects.get().sentence == "x" * 499 + "…"
