"""What browsers see change of private tasks."""

from __future__ import annotations

from django.template.loader import render_to_string

from fogpanel import live
from services.vpn_coordinator.carrying import TOPIC
from services.vpn_coordinator.private_page import private_part

PAUSE_S = 1.0  # a batch of tasks is as many carriages


@live.topic(TOPIC, allow=live.viewer, pause_s=PAUSE_S)
def render_private(key: str) -> str:
    return render_to_string("services/vpn_coordinator/_private.html", {**private_part(), "oob": True})
