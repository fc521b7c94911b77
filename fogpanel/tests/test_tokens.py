from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from fogpanel import tokens
from fogpanel.access import Refusal, Role, role_of
from fogpanel.models import ApiToken, Event
from fogpanel.tokens import Scope

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def make(user: User, *scopes: Scope) -> tuple[ApiToken, str]:
    return tokens.create_token(user, name="laptop", scopes=scopes, lifetime_s=60, now=NOW)


def test_the_text_is_not_stored(submitter: User) -> None:
    token, text = make(submitter, Scope.READ)
    assert text.startswith("fpt_")
    assert text.startswith(token.prefix)
    stored = ApiToken.objects.values().get()
    assert text not in str(stored)
    assert Event.objects.get().kind == "token.created"


def test_a_token_finds_its_user_until_it_expires(submitter: User) -> None:
    _, text = make(submitter, Scope.READ)
    found = tokens.find(text, NOW)
    assert found is not None
    assert found.user == submitter
    assert tokens.find(text + "x", NOW) is None
    assert tokens.find(text, NOW + timedelta(seconds=60)) is None


def test_a_revoked_token_is_worth_nothing(submitter: User) -> None:
    token, text = make(submitter, Scope.READ)
    tokens.revoke(token, submitter)
    tokens.revoke(token, submitter)
    assert tokens.find(text, NOW) is None
    assert Event.objects.filter(kind="token.revoked").count() == 1


def test_an_inactive_user_has_no_tokens(submitter: User) -> None:
    _, text = make(submitter, Scope.READ)
    submitter.is_active = False
    submitter.save()
    assert tokens.find(text, NOW) is None


def test_scopes_limit_the_user(operator: User) -> None:
    _, text = make(operator, Scope.READ, Scope.SUBMIT)
    found = tokens.find(text, NOW)
    assert found is not None
    assert role_of(found.user) is Role.SUBMITTER


def test_a_token_loses_what_its_user_loses(operator: User) -> None:
    _, text = make(operator, Scope.OPERATE)
    operator.groups.clear()
    found = tokens.find(text, NOW)
    assert found is not None
    assert role_of(found.user) is None


def test_scopes_beyond_the_role_are_refused(submitter: User) -> None:
    with pytest.raises(Refusal, match="scopes: operate is beyond your role"):
        make(submitter, Scope.READ, Scope.OPERATE)
    assert not ApiToken.objects.exists()


def test_use_is_noted_once_a_minute(submitter: User) -> None:
    token, _ = make(submitter, Scope.READ)
    tokens.note_use(token, NOW)
    token.refresh_from_db()
    tokens.note_use(token, NOW + timedelta(seconds=59))
    assert ApiToken.objects.get().last_used_at == NOW
    tokens.note_use(token, NOW + timedelta(seconds=61))
    assert ApiToken.objects.get().last_used_at == NOW + timedelta(seconds=61)
