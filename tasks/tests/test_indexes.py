"""Each index is written with every task: none has the columns that another one begins with."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import ForeignKey, Model

MODELS = list(apps.get_app_config("tasks").get_models())


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_foreign_key_is_indexed_twice(model: type[Model]) -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    indexed = [about["columns"] for about in found.values() if about["index"] or about["unique"]]
    longer = {columns[0] for columns in indexed if len(columns) > 1}
    for field in model._meta.concrete_fields:
        if isinstance(field, ForeignKey) and field.column in longer:
            assert [field.column] not in indexed, f"{field.name} has an index of its own"
