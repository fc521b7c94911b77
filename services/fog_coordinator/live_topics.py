"""The live part of the coordinator's page: the fleet and the flow of work as they are now."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils import timezone

from fogpanel import live
from services.fog_coordinator.picture import shown
from services.fog_coordinator.snapshots import present
from services.fog_coordinator.what_if import newest

AGEING_S = 5.0  # statuses change by silence alone
PAUSE_S = 1.0  # between pictures of the whole fleet, however fast it changes


@live.topic("routes", allow=live.viewer, every_s=AGEING_S, pause_s=PAUSE_S)
def render_routes(key: str) -> str:
    context = {**shown(present(timezone.now())), "oob": True}
    return render_to_string("services/fog_coordinator/_present.html", context)


@live.topic("whatif", allow=live.viewer)
def render_what_ifs(key: str) -> str:
    context = {"runs": newest(), "oob": True}
    return render_to_string("services/fog_coordinator/_what_ifs.html", context)
