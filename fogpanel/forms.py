"""Forms that every part of the panel shares."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.db.models import QuerySet

from fogpanel.models import Event

BIGINT_MAX = 2**63 - 1


def search_field(label: str, hint: str, *, most: int = 200, test_id: str = "") -> forms.CharField:
    """Where to type a part of a name. Scripts know it by `data-search`: the key / leads there, and a list
    leaves who types there in peace."""
    attrs = {"type": "search", "class": "form-control", "placeholder": hint, "autocomplete": "off"}
    marks = {"data-search": ""} | ({"data-testid": test_id} if test_id else {})
    widget = forms.TextInput(attrs={**attrs, **marks})
    return forms.CharField(label=label, required=False, max_length=most, widget=widget)


class SignInForm(AuthenticationForm):
    error_messages = {
        "invalid_login": "This name and password do not belong together. Check both; capitals matter.",
        "inactive": "This account is switched off. An admin can switch it on again.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "Name"
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-control"


class EventFilter(forms.Form):
    """Which events to show. What cannot be understood is named and shows everything."""

    kind = forms.CharField(required=False, max_length=60, label="What")
    actor = forms.CharField(required=False, max_length=150, label="Who")
    subject = forms.RegexField(
        r"^[a-z]+(:\d{1,18})?$",
        required=False,
        max_length=60,
        label="Subject",
        error_messages={"invalid": "Subject: a kind, or a kind and a number, such as node or task:12."},
    )
    after = forms.IntegerField(required=False, min_value=0, max_value=BIGINT_MAX, widget=forms.HiddenInput)
    before = forms.IntegerField(required=False, min_value=0, max_value=BIGINT_MAX, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hints = {"kind": "node, task.cancelled, …", "actor": "a user's name, or panel", "subject": "node:3"}
        for name, hint in hints.items():
            self.fields[name].widget.attrs.update({"class": "form-control", "placeholder": hint})

    def position(self, name: str) -> int | None:
        return self.cleaned_data.get(name) if self.is_valid() else None

    def chosen(self) -> dict[str, str]:
        """The filters in use, for the links to the next pages."""
        if not self.is_valid():
            return {}
        return {n: self.cleaned_data[n] for n in ("kind", "actor", "subject") if self.cleaned_data[n]}

    def narrow(self, events: QuerySet[Event]) -> QuerySet[Event]:
        chosen = self.chosen()
        if kind := chosen.get("kind"):
            events = events.filter(kind__startswith=kind)
        if actor := chosen.get("actor"):
            events = events.filter(actor_name="" if actor == "panel" else actor)
        if subject := chosen.get("subject"):
            subject_kind, _, number = subject.partition(":")
            events = events.filter(subject_kind=subject_kind)
            if number:
                events = events.filter(subject_id=int(number))
        return events
