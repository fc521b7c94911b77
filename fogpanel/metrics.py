"""What this process counts of its own work, for `/metrics`; whoever does the work adds to it.

Another process has figures of its own: Prometheus is told of each and adds them up.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

HEARTBEATS = Counter("fogpanel_heartbeats", "Heartbeats of agents that were stored", registry=registry)
INBOX_MESSAGES = Histogram(
    "fogpanel_inbox_batch_messages",
    "Messages of agents stored in one transaction",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
    registry=registry,
)
INBOX_SECONDS = Histogram(
    "fogpanel_inbox_batch_seconds", "How long storing one such batch took", buckets=SECONDS, registry=registry
)
DECISIONS = Counter(
    "fogpanel_decisions", "Routing decisions, by whether a node was found", ["outcome"], registry=registry
)
PLACED = Counter(
    "fogpanel_placements", "Placements committed, by how that went", ["outcome"], registry=registry
)
RENDERS = Counter(
    "fogpanel_live_renders", "Pictures rendered for browsers, by topic", ["topic"], registry=registry
)
SHOWN = Counter(
    "fogpanel_live_shown",
    "Times that a topic was shown anew, however many watch it",
    ["topic"],
    registry=registry,
)
SUBSCRIBERS = Gauge("fogpanel_live_subscribers", "Browsers that watch something live", registry=registry)
