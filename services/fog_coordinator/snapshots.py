"""The fleet as it was: taking snapshots, thinning them, and finding one by its place on the slider."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.fog_coordinator.flows import Flow, Flows, recent_flows
from services.fog_coordinator.models import Snapshot
from services.fog_coordinator.thinning import surplus
from services.topology import Picture, take_picture

EVERY = timedelta(seconds=30)
DELETED_AT_ONCE = 200


def keep(now: datetime) -> Snapshot | None:
    """Store how the fleet is, if that is something new or the last time was a while ago."""
    picture = take_picture(now)
    last = Snapshot.objects.order_by("-at").first()
    if last is not None and now <= last.at:
        return None
    if last is not None and now - last.at < EVERY and _as_stored(picture) == (last.groups, last.nodes):
        return None
    groups, nodes = _as_stored(picture)
    recent = recent_flows(now)
    flows = [[flow.source, flow.target, flow.moved, flow.number] for flow in recent.flows]
    return Snapshot.objects.create(
        at=now, groups=groups, nodes=nodes, flows=flows, flows_over_s=recent.over_s
    )


def _as_stored(picture: Picture) -> tuple[list[list[object]], list[list[object]]]:
    return [list(group) for group in picture.groups], [list(node) for node in picture.nodes]


def thin(now: datetime) -> int:
    """Let go of what is too much for its age; how many went."""
    gone = surplus(Snapshot.objects.order_by("at").values_list("id", "at"), now)
    for start in range(0, len(gone), DELETED_AT_ONCE):
        Snapshot.objects.filter(id__in=gone[start : start + DELETED_AT_ONCE]).delete()
    return len(gone)


@dataclass(frozen=True, slots=True)
class View:
    """The fleet as the page draws it; ``at`` is when it was so."""

    at: datetime
    picture: Picture
    flows: Flows


def present(now: datetime) -> View:
    return View(now, take_picture(now), recent_flows(now))


def past(snapshot: Snapshot) -> View:
    picture = Picture([tuple(group) for group in snapshot.groups], [tuple(node) for node in snapshot.nodes])
    flows = Flows([Flow(*flow) for flow in snapshot.flows], snapshot.flows_over_s)
    return View(snapshot.at, picture, flows)


@dataclass(frozen=True, slots=True)
class Slider:
    """The moments there are, from the oldest on; the place after the last is now.

    ``until`` is the newest snapshot that it reaches to, so that it stays the same while time goes on.
    """

    moments: list[tuple[int, datetime]]
    position: int

    @property
    def now(self) -> int:
        return len(self.moments)

    @property
    def is_now(self) -> bool:
        return self.position >= self.now

    @property
    def until(self) -> int:
        return self.moments[-1][0] if self.moments else 0

    @property
    def oldest(self) -> datetime | None:
        return self.moments[0][1] if self.moments else None

    @property
    def snapshot_id(self) -> int | None:
        return None if self.is_now else self.moments[self.position][0]

    @property
    def earlier(self) -> int | None:
        return self.position - 1 if self.position > 0 else None

    @property
    def later(self) -> int | None:
        return None if self.is_now else self.position + 1


def slider(position: int | None = None, until: int | None = None) -> Slider:
    """At ``position`` of those up to ``until``; at now where none is given."""
    stored = Snapshot.objects.order_by("id")
    if until is not None:
        stored = stored.filter(id__lte=until)
    moments = list(stored.values_list("id", "at"))
    return Slider(moments, len(moments) if position is None else min(position, len(moments)))
