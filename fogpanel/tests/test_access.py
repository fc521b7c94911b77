"""Roles: who includes whom, what a refusal says, and that groups are there."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from fogpanel.access import Refusal, Role, allows, limit, require, requires, role_of

pytestmark = pytest.mark.django_db


def test_the_groups_exist_after_migrate() -> None:
    assert set(Group.objects.values_list("name", flat=True)) >= {role.value for role in Role}


@pytest.mark.parametrize("mine", Role)
@pytest.mark.parametrize("asked", Role)
def test_each_role_includes_those_before_it(mine: Role, asked: Role) -> None:
    user = User.objects.create_user("somebody")
    user.groups.add(Group.objects.get(name=mine.value))
    assert allows(user, asked) == (list(Role).index(mine) >= list(Role).index(asked))


def test_the_strongest_of_several_groups_counts() -> None:
    user = User.objects.create_user("somebody")
    user.groups.set(Group.objects.filter(name__in=["viewer", "operator"]))
    assert role_of(user) is Role.OPERATOR


@pytest.mark.parametrize("flag", ["is_staff", "is_superuser"])
def test_staff_and_superusers_are_admins(flag: str) -> None:
    boss = User.objects.create_user("boss")
    setattr(boss, flag, True)
    assert role_of(boss) is Role.ADMIN


def test_nobody_has_no_role(admin_user: User) -> None:
    admin_user.is_active = False
    assert role_of(AnonymousUser()) is None
    assert role_of(User.objects.create_user("newcomer")) is None
    assert role_of(admin_user) is None


def test_a_limit_lowers_but_never_raises(operator: User, viewer: User) -> None:
    limit(operator, Role.SUBMITTER)
    limit(viewer, Role.ADMIN)
    assert role_of(operator) is Role.SUBMITTER
    assert role_of(viewer) is Role.VIEWER


@requires(Role.OPERATOR)
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in")


def test_a_refusal_names_the_missing_role(rf: RequestFactory, submitter: User) -> None:
    request = rf.get("/somewhere")
    request.user = submitter
    with pytest.raises(Refusal, match="needs the role operator; you have the role submitter"):
        page(request)


def test_the_role_lets_in(rf: RequestFactory, admin_user: User) -> None:
    request = rf.get("/somewhere")
    request.user = admin_user
    assert page(request).status_code == 200


def test_who_is_not_signed_in_is_led_to_sign_in(rf: RequestFactory) -> None:
    request = rf.get("/somewhere?x=1")
    request.user = AnonymousUser()
    answer = page(request)
    assert answer.status_code == 302
    assert answer["Location"] == "/sign-in?next=/somewhere%3Fx%3D1"


def test_a_page_beyond_the_role_says_so(client: Client, viewer: User) -> None:
    client.force_login(viewer)
    answer = client.get("/admin/", follow=True)
    assert answer.status_code == 403
    assert "needs the role admin" in answer.content.decode()


def test_a_refusal_says_when_it_is_the_token_that_lacks_a_scope(admin_user: User) -> None:
    limit(admin_user, Role.SUBMITTER)
    with pytest.raises(Refusal, match="this API token's scopes allow submitter"):
        require(admin_user, Role.OPERATOR)
