"""The API of parameters: /api/v1/parameters."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.utils import timezone
from ninja import Router, Schema
from pydantic import Field

from fogpanel.access import Role, require
from fogpanel.api_auth import SignedInRequest
from fogpanel.parameters import changing
from fogpanel.parameters.presenting import Row, sections

router = Router(tags=["parameters"])


class ParameterOut(Schema):
    """``changed_at`` and ``changed_by`` are of the last change, also one back to the default."""

    name: str
    title: str
    about: str
    group: str
    unit: str
    whole: bool
    least: float
    most: float
    default: float
    value: float
    is_default: bool
    readers: str
    changed_at: datetime | None
    changed_by: str


class Parameters(Schema):
    items: list[ParameterOut]


class Changes(Schema):
    """Values by name; null sets a parameter back to its default. All are changed, or none."""

    values: Annotated[dict[str, float | None], Field(min_length=1, max_length=100)]


@router.get("/parameters", response=Parameters)
def list_parameters(request: SignedInRequest) -> Parameters:
    """What can be changed while the panel runs, and what it is now."""
    require(request.user, Role.VIEWER)
    return Parameters(items=[_out(one.group.slug, row) for one in sections() for row in one.rows])


@router.put("/parameters", response=Parameters)
def change_parameters(request: SignedInRequest, given: Changes) -> Parameters:
    """Change some; those that depend on each other belong into one request."""
    require(request.user, Role.ADMIN)
    changing.change(given.values, request.user, timezone.now())
    return list_parameters(request)


def _out(group: str, row: Row) -> ParameterOut:
    parameter = row.parameter
    return ParameterOut(
        name=parameter.name,
        title=parameter.title,
        about=parameter.about,
        group=group,
        unit=parameter.unit,
        whole=parameter.whole,
        least=parameter.least,
        most=parameter.most,
        default=parameter.default,
        value=row.value,
        is_default=row.is_default,
        readers=parameter.readers,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
