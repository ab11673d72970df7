"""What each namespace holds, every digest once: the pairs that quotas count. Filled from artifacts and their edges."""

import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

FILL = """
INSERT INTO registry_core_namespaceblob (namespace_id, digest, size)
SELECT DISTINCT r.namespace_id, b.digest, b.size FROM registry_core_artifactblob e
    JOIN registry_core_blob b ON b.id = e.blob_id JOIN registry_core_repository r ON r.id = e.repository_id
UNION
SELECT r.namespace_id, a.digest, octet_length(a.payload) FROM registry_core_artifact a
    JOIN registry_core_repository r ON r.id = a.repository_id
ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("registry_core", "0002_constraints")]

    operations = [
        migrations.CreateModel(
            name="NamespaceBlob",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "namespace_id", "digest", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("digest", models.CharField(db_collation="C", max_length=135)),
                ("size", models.BigIntegerField()),
                (
                    "namespace",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="registry_core.namespace",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=django.contrib.postgres.indexes.HashIndex(
                fields=["digest"], name="artifact_in_any_repository"
            ),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
