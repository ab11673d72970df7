"""A project's storage limit becomes a row that counts, filled from what the project holds."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

FILL = """
INSERT INTO projects_quota (project_id, hard, used, proven_at, created_at, updated_at)
SELECT p.id, p.storage_limit, coalesce((
    SELECT sum(h.size) FROM registry_core_namespaceblob h WHERE h.namespace_id = p.namespace_id), 0),
    now(), p.created_at, p.created_at
FROM projects_project p
"""
EMPTY = """
UPDATE projects_project p SET storage_limit = q.hard FROM projects_quota q WHERE q.project_id = p.id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("projects", "0005_label_keys"),
        ("registry_core", "0003_namespace_blob"),
    ]

    operations = [
        migrations.CreateModel(
            name="Quota",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hard", models.BigIntegerField(default=-1)),
                ("used", models.BigIntegerField(default=0)),
                ("proven_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quota",
                        to="projects.project",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(FILL, EMPTY),
        migrations.RemoveField(model_name="project", name="storage_limit"),
    ]
