"""The panel's own Ed25519 identity, which agents pin. One key in the data folder, made on first use."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from fogagent.identity import Identity


@cache
def panel_identity() -> Identity:
    return Identity.load_or_create(settings.DATA_DIR / "panel.key")
