"""Parameters as the page and the API show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fogpanel.models import ParameterValue
from fogpanel.parameters.catalogue import GROUPS, RULES, WEIGHTS
from fogpanel.parameters.changing import broken_rules, effective
from fogpanel.parameters.parameter import Group, Parameter


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter: what it is worth, and who changed it when (None: nobody did).

    ``typed`` is what stands in its field; ``share`` is a weight's part of its whole in percent.
    """

    parameter: Parameter
    value: float
    is_default: bool
    changed_at: datetime | None
    changed_by: str
    share: float | None
    typed: str
    errors: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        return self.parameter.told(self.value)

    @property
    def was(self) -> str:
        return plain(self.value)

    @property
    def range(self) -> str:
        return f"{plain(self.parameter.least)} to {self.parameter.told(self.parameter.most)}"

    @property
    def default(self) -> str:
        return self.parameter.told(self.parameter.default)


@dataclass(frozen=True, slots=True)
class Section:
    """A group of parameters; ``broken`` names rules that its present values break together."""

    group: Group
    rows: tuple[Row, ...]
    broken: tuple[str, ...]


def plain(value: float) -> str:
    """As an input field takes it."""
    return f"{value:.10g}"


def sections() -> list[Section]:
    rows = ParameterValue.objects.in_bulk()
    return [section(group, rows) for group in GROUPS]


def section(
    group: Group,
    rows: Mapping[str, ParameterValue] | None = None,
    *,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, list[str]] | None = None,
) -> Section:
    """``typed`` and ``errors`` by name: what somebody entered, and what is wrong with it."""
    rows = ParameterValue.objects.in_bulk() if rows is None else rows
    values = effective({name: row.value for name, row in rows.items()})
    names = [parameter.name for parameter in group.parameters]
    shown = tuple(
        _row(each, rows.get(each.name), values, (typed or {}).get(each.name), (errors or {}).get(each.name))
        for each in group.parameters
    )
    return Section(group, shown, tuple(sentence for _, sentence in broken_rules(values, names)))


def _row(
    parameter: Parameter,
    row: ParameterValue | None,
    values: Mapping[str, float],
    typed: str | None,
    errors: list[str] | None,
) -> Row:
    value = values[parameter.name]
    return Row(
        parameter=parameter,
        value=value,
        is_default=row is None or row.value is None,
        changed_at=row.changed_at if row else None,
        changed_by=row.changed_by_name or "the panel" if row else "",
        share=_share(parameter, values),
        typed=plain(value) if typed is None else typed,
        errors=tuple(errors or ()),
    )


def _share(parameter: Parameter, values: Mapping[str, float]) -> float | None:
    if parameter not in WEIGHTS:
        return None
    whole = sum(values[name] for name in next(rule.names for rule in RULES if parameter.name in rule.names))
    return 100 * values[parameter.name] / whole if whole else None
