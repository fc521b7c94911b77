"""Changing parameters: all the rules are checked, all or nothing is changed, and it leaves an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from fogpanel import audit
from fogpanel.models import ParameterValue
from fogpanel.parameters import store
from fogpanel.parameters.catalogue import BY_NAME, RULES
from fogpanel.parameters.parameter import Parameter, Refused, Values


@dataclass(frozen=True, slots=True)
class Change:
    parameter: Parameter
    before: float
    after: float

    def __str__(self) -> str:
        told = self.parameter.told
        return f"{self.parameter.title} to {told(self.after)} (was {told(self.before)})"


def change(wanted: Mapping[str, float | None], actor: User | None, now: datetime) -> list[Change]:
    """Set these parameters, or back to their default where the value is None; returns what changed.

    Parameters that depend on each other are best changed in one call: the rules are checked at its end.

    Raises:
        Refused: an unknown name, a value out of range, or a rule across parameters that would be broken.
    """
    if errors := list(_complaints(wanted)):
        raise Refused(errors)
    with transaction.atomic():
        rows = _locked()
        before = effective({name: row.value for name, row in rows.items()})
        after = before | effective(wanted, wanted)
        if errors := list(broken_rules(after, wanted)):
            raise Refused(errors)
        changes = [
            Change(BY_NAME[name], before[name], after[name]) for name in wanted if before[name] != after[name]
        ]
        _write(rows, wanted, actor, now)
        if changes:
            _record(changes, actor)
            store.tell_all()
    return changes


def effective(stored: Mapping[str, float | None], names: Iterable[str] = tuple(BY_NAME)) -> dict[str, float]:
    """What each parameter is worth: what is stored, else its default."""
    values = {name: stored.get(name) for name in names}
    return {name: BY_NAME[name].default if value is None else value for name, value in values.items()}


def broken_rules(values: Values, names: Iterable[str] | None = None) -> Iterable[tuple[str, str]]:
    """(name, sentence) of each rule that ``values`` break, of those about ``names`` where given."""
    about = None if names is None else set(names)
    for rule in RULES:
        if about is not None and about.isdisjoint(rule.names):
            continue
        if sentence := rule.broken(values):
            yield next(name for name in rule.names if about is None or name in about), sentence


def _complaints(wanted: Mapping[str, float | None]) -> Iterable[tuple[str, str]]:
    for name, value in wanted.items():
        if name not in BY_NAME:
            yield name, f"{name[:60]}: there is no such parameter; the settings page lists those that exist."
        elif value is not None and (sentence := BY_NAME[name].complaint(value)):
            yield name, sentence


def _locked() -> dict[str, ParameterValue]:
    """A row for each parameter, locked: of two changes at once, the second sees what the first did."""
    ParameterValue.objects.bulk_create((ParameterValue(name=name) for name in BY_NAME), ignore_conflicts=True)
    rows = ParameterValue.objects.select_for_update().filter(name__in=BY_NAME).order_by("name")
    return {row.name: row for row in rows}


def _write(
    rows: Mapping[str, ParameterValue], wanted: Mapping[str, float | None], actor: User | None, now: datetime
) -> None:
    for name, value in sorted(wanted.items()):
        if rows[name].value != value:
            ParameterValue.objects.filter(name=name).update(
                value=value,
                changed_at=now,
                changed_by=actor,
                changed_by_name=actor.get_username() if actor else "",
            )


def _record(changes: list[Change], actor: User | None) -> None:
    sentence = f"{actor or 'The panel'} set {'; '.join(map(str, changes))}"
    audit.record(
        "parameter.changed",
        sentence,
        actor=actor,
        before={each.parameter.name: each.before for each in changes},
        after={each.parameter.name: each.after for each in changes},
    )
