"""What machines ask before they are nodes: whose panel this is, and to be let in. Open to everybody."""

from __future__ import annotations

from ninja import Router

router = Router(tags=["agents"], auth=None)
