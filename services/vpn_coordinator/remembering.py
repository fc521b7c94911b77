"""Which gateways failed lately: a row for each that ever did, which all workers share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from services.vpn_coordinator.models import Carriage, GatewayRecord
from services.vpn_coordinator.reliability import OF_GATEWAY, Reliance
from services.vpn_coordinator.troubles import Failed, Trouble


class Result(NamedTuple):
    """``trouble`` is None where the node began what this gateway was to bring."""

    gateway_id: int
    trouble: Trouble | None


def results_of(failed: Iterable[tuple[Carriage, Failed]]) -> list[Result]:
    """Before `retrying.fail` takes their gateways from them."""
    return [Result(one.gateway_id, why.trouble) for one, why in failed if one.gateway_id is not None]


def reliances(node_ids: Iterable[int]) -> dict[int, Reliance]:
    """Of those of these gateways that ever failed."""
    rows = GatewayRecord.objects.filter(node_id__in=list(node_ids))
    return {
        node_id: Reliance(results, until)
        for node_id, results, until in rows.values_list("node_id", "results", "rests_until")
    }


def remember(results: Iterable[Result], now: datetime) -> None:
    """Note what came of carriages. The last thing in a transaction, and once, so that no two wait for each
    other: rows are locked in order. What another transaction is at is not noted; this is only a memory."""
    noted = [one for one in results if one.trouble is None or one.trouble in OF_GATEWAY]
    if not noted:
        return
    ids = {one.gateway_id for one in noted}
    _make_rows({one.gateway_id for one in noted if one.trouble is not None})
    rows = GatewayRecord.objects.select_for_update(no_key=True, skip_locked=True).filter(node_id__in=ids)
    records = {record.node_id: record for record in rows.order_by("node_id")}
    changed = [record for record in records.values() if _note(record, noted, now)]
    GatewayRecord.objects.bulk_update(changed, ("results", "rests_until", "failed_at", "trouble"))


def _make_rows(node_ids: Iterable[int]) -> None:
    rows = [GatewayRecord(node_id=node_id) for node_id in sorted(node_ids)]
    if rows:
        GatewayRecord.objects.bulk_create(rows, ignore_conflicts=True)


def _note(record: GatewayRecord, results: Iterable[Result], now: datetime) -> bool:
    """Whether that changes it. Several failures in one batch are one: they may have one cause."""
    mine = [one.trouble for one in results if one.gateway_id == record.node_id]
    before = reliance = Reliance(record.results, record.rests_until)
    if failures := [trouble for trouble in mine if trouble is not None]:
        reliance = reliance.failed(now)
        record.failed_at, record.trouble = now, failures[-1]
    elif mine:
        reliance = reliance.succeeded()
    record.results, record.rests_until = reliance.results, reliance.rests_until
    return reliance != before
