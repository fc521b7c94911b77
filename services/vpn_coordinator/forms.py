"""The form that creates a tunnel. It only maps its fields: the rules are in `wishes`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms

from services.vpn_coordinator.models import DEFAULT_HOPS, DEFAULT_ROTATE_S
from services.vpn_coordinator.pools import HOPS_LEAST, HOPS_MOST, pool_of
from services.vpn_coordinator.wishes import PORT_LEAST, PORT_MOST, ROTATE_LEAST_S, ROTATE_MOST_S
from tasks.fields import FieldError

HOPS = [
    (number, f"{number} hop{'s' if number > 1 else ''}, {pool_of(number).name}")
    for number in range(HOPS_LEAST, HOPS_MOST + 1)
]


def text(**attrs: str) -> forms.TextInput:
    return forms.TextInput(attrs={"class": "form-control", "autocomplete": "off", **attrs})


def number(least: int, most: int) -> forms.NumberInput:
    return forms.NumberInput(attrs={"class": "form-control", "min": least, "max": most})


def focus_on_wrong(form: forms.Form) -> None:
    """Have the browser go to the first field that is wrong, which may be far from where the page begins."""
    for field in form.visible_fields():
        if field.errors:
            field.field.widget.attrs["autofocus"] = True
            return


class TunnelForm(forms.Form):
    name = forms.CharField(required=False, widget=text(placeholder="browsing"))
    entry = forms.CharField(
        label="Entry node",
        required=False,
        help_text="Its programs use the tunnel: the port is on that machine's loopback.",
        widget=text(list="entries"),
    )
    exit_region = forms.CharField(
        label="Exit region", required=False, help_text="Empty: anywhere.", widget=text(list="exit-regions")
    )
    exit_node = forms.CharField(
        label="Or one exit node", required=False, help_text="In place of a region.", widget=text(list="exits")
    )
    hops = forms.CharField(
        required=False,
        initial=DEFAULT_HOPS,
        widget=forms.Select(choices=HOPS, attrs={"class": "form-select"}),
    )
    rotate_s = forms.CharField(
        label="Rotation in seconds",
        required=False,
        initial=DEFAULT_ROTATE_S,
        help_text="After so long a circuit takes no more new streams.",
        widget=number(ROTATE_LEAST_S, ROTATE_MOST_S),
    )
    port = forms.CharField(
        required=False,
        help_text=f"{PORT_LEAST} to {PORT_MOST}. Empty: one that is free.",
        widget=number(PORT_LEAST, PORT_MOST),
    )
    allowed = forms.CharField(
        label="Also for these users",
        required=False,
        help_text="User names with commas between. They see its port and may stop it.",
        widget=text(),
    )

    require_password = forms.BooleanField(
        label="Require a password",
        required=False,
        help_text="For an entry that several people use: each user of the tunnel gets their own, and other "
        "programs on that machine get nowhere. Chromium cannot use a tunnel with a password.",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )

    def given(self) -> dict[str, Any]:
        """What was filled in, as `wishes.read` takes it."""
        return {name: value for name, value in self.cleaned_data.items() if value}

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Show the errors next to the fields they name."""
        for error in errors:
            self.add_error(error.field if error.field in self.fields else None, error.message)


class SharingForm(forms.Form):
    allowed = forms.CharField(
        label="Also for these users",
        required=False,
        help_text="User names with commas between. Empty: nobody else.",
        widget=text(),
    )


class GuardForm(forms.Form):
    """What the button says, so that a page that is out of date does not do the opposite."""

    require_password = forms.TypedChoiceField(
        choices=[("on", "on"), ("off", "off")], coerce=lambda value: value == "on"
    )


class ListForm(forms.Form):
    """Which tunnels to list. ``after`` and ``before`` are ids."""

    stopped = forms.BooleanField(required=False)
    after = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
    before = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
