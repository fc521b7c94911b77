from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F


def removed_so_far(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Until now a node was archived only by being removed."""
    nodes = apps.get_model("nodes", "Node").objects
    nodes.filter(archived_at__isnull=False).update(removed_at=F("archived_at"))


class Migration(migrations.Migration):
    dependencies = [("nodes", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="node",
            name="drain_deadline_at",
            field=models.DateTimeField(
                blank=True, help_text="While it is drained: when what still runs there moves", null=True
            ),
        ),
        migrations.AddField(
            model_name="node",
            name="drain_total",
            field=models.PositiveIntegerField(default=0, help_text="What ran there when the drain began"),
        ),
        migrations.AddField(
            model_name="node",
            name="removed_at",
            field=models.DateTimeField(
                blank=True, help_text="Archived by an operator, for good: its key is refused", null=True
            ),
        ),
        migrations.AlterField(
            model_name="node",
            name="archived_at",
            field=models.DateTimeField(blank=True, help_text="Out of the fleet since then", null=True),
        ),
        migrations.RunPython(removed_so_far, migrations.RunPython.noop),
    ]
