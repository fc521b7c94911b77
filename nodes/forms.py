"""What the node pages ask for: filters of the list, and join keys."""

from __future__ import annotations

from typing import Any

from django import forms

from coordinator.values import Availability, NodeStatus, NodeType
from fogpanel.forms import search_field
from fogpanel.templatetags.fog import duration
from nodes.directory import ARCHIVED
from nodes.models import Group

HOUR_S = 3600
LIFETIMES_S = [
    (HOUR_S, "1 hour"),
    (24 * HOUR_S, "1 day"),
    (7 * 24 * HOUR_S, "7 days"),
    (30 * 24 * HOUR_S, "30 days"),
]


DRAIN_MOST_S = 7 * 24 * HOUR_S
DRAIN_TIMES_S = {
    0: "No time: it moves at once",
    60: "1 minute",
    600: "10 minutes",
    HOUR_S: "1 hour",
    8 * HOUR_S: "8 hours",
    24 * HOUR_S: "1 day",
}


def in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


class FilterForm(forms.Form):
    """The filters of /nodes, from its query string. ``after`` and ``before`` are keyset cursors."""

    q = search_field("Search", "Name, host, region or label", test_id="node-search")
    status = forms.ChoiceField(
        required=False,
        choices=[
            ("", "Any status"),
            *((s.value, in_words(s)) for s in NodeStatus),
            (ARCHIVED, "Archived"),
        ],
        widget=forms.Select(attrs={"class": "form-select", "data-testid": "node-filter-status"}),
    )
    type = forms.ChoiceField(
        required=False,
        choices=[("", "Any type"), *((t.value, in_words(t)) for t in NodeType)],
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    region = forms.CharField(
        required=False, max_length=60, widget=forms.Select(attrs={"class": "form-select"})
    )
    after = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)
    before = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)

    def __init__(self, *args: Any, regions: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        widget = self.fields["region"].widget
        assert isinstance(widget, forms.Select)
        widget.choices = [("", "Any region"), *((region, region) for region in regions)]


class DrainForm(forms.Form):
    """Draining or maintenance, and how long what runs on the node may go on."""

    availability = forms.ChoiceField(
        choices=[
            (Availability.DRAINING.value, "Drain: it gets no more work"),
            (Availability.MAINTENANCE.value, "Maintenance: drained, and shown as taken out"),
        ],
        label="What for",
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    drain_s = forms.ChoiceField(
        label="What runs there may go on for",
        help_text="What has not ended by then starts again on other nodes.",
        widget=forms.Select(attrs={"class": "form-select"}),
    )

    def __init__(self, *args: Any, usual_s: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        times = {usual_s: duration(usual_s), **DRAIN_TIMES_S}
        widget = self.fields["drain_s"].widget
        assert isinstance(widget, forms.Select)
        widget.choices = sorted(times.items())
        self.initial["drain_s"] = usual_s


class AvailabilityForm(forms.Form):
    """What is wanted of a node. ``drain_s`` counts for draining and maintenance; empty: the setting."""

    availability = forms.ChoiceField(
        choices=[(a.value, a.value) for a in Availability],
        error_messages={
            "required": f"availability: must be one of {', '.join(Availability)}.",
            "invalid_choice": f"availability: must be one of {', '.join(Availability)}, was “%(value)s”.",
        },
    )
    drain_s = forms.FloatField(
        required=False,
        min_value=0,
        max_value=DRAIN_MOST_S,
        error_messages={
            "invalid": "drain_s: must be a number of seconds.",
            "min_value": "drain_s: must not be negative.",
            "max_value": f"drain_s: must be at most {DRAIN_MOST_S} seconds, which are seven days.",
        },
    )

    def problems(self) -> list[str]:
        return [str(error) for errors in self.errors.values() for error in errors]


class JoinKeyForm(forms.Form):
    """A new join key. Naming a new group creates it with the key."""

    note = forms.CharField(
        required=False,
        max_length=200,
        help_text="What it is for, so that you recognise it later.",
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "Rack 3 in the lab"}),
    )
    uses = forms.IntegerField(
        label="Machines it may let in",
        min_value=1,
        max_value=1000,
        initial=1,
        widget=forms.NumberInput(attrs={"class": "form-control"}),
        error_messages={
            "min_value": "uses: must be between 1 and 1000 machines, was %(show_value)s.",
            "max_value": "uses: must be between 1 and 1000 machines, was %(show_value)s.",
            "invalid": "uses: must be a whole number of machines.",
        },
    )
    lifetime_s = forms.TypedChoiceField(
        label="Valid for",
        coerce=int,
        choices=LIFETIMES_S,
        initial=24 * HOUR_S,
        widget=forms.Select(attrs={"class": "form-select"}),
        error_messages={"invalid_choice": "lifetime_s: choose one of the times listed."},
    )
    group = forms.ModelChoiceField(
        Group.objects.order_by("name"),
        required=False,
        empty_label="No group",
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    new_group = forms.CharField(
        label="Or a new group",
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "Name of the group"}),
    )
    needs_approval = forms.BooleanField(
        label="Machines of the new group wait for approval",
        required=False,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        name = cleaned.get("new_group", "").strip()
        if name and cleaned.get("group"):
            self.add_error("new_group", "new_group: choose a group or name a new one, not both.")
        elif name and Group.objects.filter(name=name).exists():
            self.add_error("new_group", f"new_group: there is a group “{name}” already; choose it above.")
        elif cleaned.get("needs_approval") and not name:
            self.add_error("needs_approval", "needs_approval: applies to a new group; name one above.")
        cleaned["new_group"] = name
        return cleaned

    def chosen_group(self) -> Group | None:
        """The group of the key; creates the new one if one was named."""
        if name := self.cleaned_data["new_group"]:
            return Group.objects.create(name=name, needs_approval=self.cleaned_data["needs_approval"])
        group = self.cleaned_data["group"]
        assert group is None or isinstance(group, Group)
        return group
