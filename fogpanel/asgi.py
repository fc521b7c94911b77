"""What Daphne serves: pages, API, the sockets of agents and browsers, and the threads behind them."""

from __future__ import annotations

import gc
import os
import sys

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fogpanel.settings")
django.setup(set_prefix=False)

from fogpanel import wakes  # noqa: E402
from fogpanel.kept_threads import KeptThreadsHandler  # noqa: E402
from fogpanel.live_consumer import live_socket  # noqa: E402
from fogpanel.nowhere import nowhere  # noqa: E402
from fogpanel.open_files import allow_many_agents  # noqa: E402
from nodes.consumers import agent_socket  # noqa: E402
from nodes.doorkeeper import doorkeeper  # noqa: E402
from nodes.inbox import inbox  # noqa: E402
from nodes.outbox import sender  # noqa: E402
from nodes.presence import PresenceWriter  # noqa: E402
from nodes.relay_directory.courier import courier  # noqa: E402
from nodes.relay_directory.publisher import publisher  # noqa: E402
from tasks.placement import placer  # noqa: E402

SWITCH_INTERVAL_S = 0.0005
FULL_COLLECTION_EVERY = 100  # collections of the middle generation

LIVE = AllowedHostsOriginValidator(AuthMiddlewareStack(live_socket))

application = ProtocolTypeRouter(
    {
        "http": KeptThreadsHandler(),
        "websocket": URLRouter(
            # Django's own `path` is typed for views; what Channels routes to are ASGI applications.
            [
                path("ws/agent/", agent_socket),  # type: ignore[list-item, arg-type]
                path("ws/live/", LIVE),  # type: ignore[list-item]
                re_path(r"", nowhere),  # type: ignore[list-item, arg-type]
            ]
        ),
    }
)

# Inbox, placer and outbox compute while the event loop has many small things to do, each of which would
# wait for a whole switch interval to get its turn.
sys.setswitchinterval(SWITCH_INTERVAL_S)

# To look for cycles everywhere means to read every object, those of ten thousand nodes among them: a tenth of
# a second and more in which nothing else runs. What was imported stays and is left out of it, and of the rest
# cycles are few: it is looked through a tenth as often as usual.
gc.collect()
gc.freeze()
gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_EVERY)

wakes.start()
allow_many_agents()
hearing = (doorkeeper, inbox, sender, placer)
for thread in (*hearing, PresenceWriter(*hearing), publisher, courier):
    thread.start()
