"""Whose circuits are to be shown, and which relays come next."""

from __future__ import annotations

from django import forms

from nodes.models import Node


class NodeForm(forms.Form):
    node = forms.CharField(
        required=False,
        max_length=100,
        label="Node",
        widget=forms.TextInput(
            attrs={
                "class": "form-control",
                "type": "search",
                "placeholder": "Name of a node",
                "autocomplete": "off",
            }
        ),
    )

    def clean_node(self) -> Node | None:
        name = self.cleaned_data["node"]
        if not name:
            return None
        node = Node.objects.filter(name=name).first()
        if node is None:
            raise forms.ValidationError(f"There is no node “{name}”. The page Nodes lists their names.")
        return node


class PlaceForm(forms.Form):
    after = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
    before = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
