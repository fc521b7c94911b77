"""What the coordinator's page is asked."""

from __future__ import annotations

from django import forms


class MomentForm(forms.Form):
    """A place on the time slider, and the newest snapshot that the slider reached to when it was made."""

    position = forms.IntegerField(required=False, min_value=0, max_value=1_000_000)
    until = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)


class WhatIfForm(forms.Form):
    tasks = forms.TypedChoiceField(
        label="How many of the last tasks",
        coerce=int,
        choices=[(number, f"{number:,} tasks") for number in (100, 500, 1000, 3000)],
        initial=500,
        widget=forms.Select(attrs={"class": "form-select"}),
    )
