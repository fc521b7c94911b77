"""Who may do what: four roles, each including the one before, kept as Django groups."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase

from fogpanel.rows import select

AnyUser: TypeAlias = AbstractBaseUser | AnonymousUser
Arguments = ParamSpec("Arguments")
Request = TypeVar("Request", bound=HttpRequest)
View: TypeAlias = Callable[Concatenate[Request, Arguments], HttpResponseBase]


class Role(StrEnum):
    """What a user is, weakest first. The values are the names of the groups."""

    VIEWER = "viewer"  # sees the fleet, and of tasks that they exist
    SUBMITTER = "submitter"  # hands in tasks and sees what becomes of them
    OPERATOR = "operator"  # runs the fleet: nodes, join keys, everybody's tasks
    ADMIN = "admin"  # runs the panel: users, the admin site

    def includes(self, other: Role) -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}
_KEPT = "_panel_role"  # set through the lazy object that `request.user` is, so it lands on the user
_LIMITED = "_panel_role_limited"


class Refusal(PermissionDenied):
    """The user lacks a role. ``str`` is a sentence that says which one. Answered with 403."""


def role_of(user: AnyUser) -> Role | None:
    """The user's strongest role, or None: nobody, not active, or in none of the groups.

    Staff and superusers are admins. The answer is kept with the user object, which lives as long as
    one request; `limit` may have lowered it there.
    """
    if not hasattr(user, _KEPT):
        setattr(user, _KEPT, _stored_role(user))
    role: Role | None = getattr(user, _KEPT)
    return role


def _stored_role(user: AnyUser) -> Role | None:
    if not isinstance(user, User) or not user.is_active:
        return None
    if user.is_staff or user.is_superuser:
        return Role.ADMIN
    names = {name for (name,) in select(_GROUPS, user=user.pk)}
    return max((role for role in Role if role in names), key=_RANK.__getitem__, default=None)


_GROUPS = """
SELECT auth_group.name FROM auth_user_groups JOIN auth_group ON auth_group.id = auth_user_groups.group_id
WHERE auth_user_groups.user_id = {user}"""


def limit(user: User, at_most: Role) -> None:
    """Let this user object act as ``at_most`` that role from here on (an API token with few scopes)."""
    role = role_of(user)
    if role is not None and role.includes(at_most):
        setattr(user, _KEPT, at_most)
        setattr(user, _LIMITED, role is not at_most)


def allows(user: AnyUser, role: Role) -> bool:
    mine = role_of(user)
    return mine is not None and mine.includes(role)


def require(user: AnyUser, role: Role) -> None:
    """Raises Refusal unless the user has ``role`` or a stronger one."""
    if not allows(user, role):
        raise Refusal(refusal_sentence(user, role))


def refusal_sentence(user: AnyUser, role: Role) -> str:
    mine = role_of(user)
    if getattr(user, _LIMITED, False):
        return f"This needs the role {role}; this API token's scopes allow {mine}. Make one with more scopes."
    have = f"you have the role {mine}" if mine else "you have no role yet"
    return f"This needs the role {role}; {have}. An admin can give it to you."


def requires(role: Role) -> Callable[[View[Request, Arguments]], View[Request, Arguments]]:
    """Let a view be used only by those who have ``role``.

    Who is not signed in is led to the sign-in page; who is, but lacks the role, meets `Refusal`,
    which the 403 page shows.
    """

    def wrap(view: View[Request, Arguments]) -> View[Request, Arguments]:
        @wraps(view)
        def guarded(
            request: Request, /, *args: Arguments.args, **kwargs: Arguments.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            require(request.user, role)
            return view(request, *args, **kwargs)

        return guarded

    return wrap


class AdminRoleBackend(BaseBackend):
    """Gives whoever is an admin every permission of Django's own, for the admin site."""

    def has_perm(self, user_obj: AnyUser, perm: str, obj: Model | AnyUser | None = None) -> bool:
        return allows(user_obj, Role.ADMIN)

    def has_module_perms(self, user_obj: AnyUser, app_label: str) -> bool:
        return allows(user_obj, Role.ADMIN)


def create_groups(**_: Any) -> None:
    """After each migrate: the groups exist, so that roles can be given on the admin site."""
    for role in Role:
        Group.objects.get_or_create(name=role.value)
