from __future__ import annotations

from typing import Any

from django.utils import timezone

from conftest import MakeFleet
from tasks.fleet_view import FleetView


def test_the_fleet_is_read_by_few_queries_however_large(
    make_fleet: MakeFleet, django_assert_max_num_queries: Any
) -> None:
    make_fleet(30)
    view = FleetView(seed=1)
    with django_assert_max_num_queries(4):  # columns that were not read would be one query a node each
        view.refresh(timezone.now())
    assert len(view.fleet) == 30
