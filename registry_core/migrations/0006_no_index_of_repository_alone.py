"""Indexes of the repository alone go: others begin with it, and the planner took these to read a whole repository."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("registry_core", "0005_signature_tags"),
    ]

    operations = [
        migrations.AlterField(
            model_name="artifact",
            name="repository",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="artifacts",
                to="registry_core.repository",
            ),
        ),
        migrations.AlterField(
            model_name="artifactblob",
            name="repository",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="registry_core.repository",
            ),
        ),
        migrations.AlterField(
            model_name="artifactchild",
            name="repository",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="registry_core.repository",
            ),
        ),
        migrations.AlterField(
            model_name="tag",
            name="repository",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="tags",
                to="registry_core.repository",
            ),
        ),
        migrations.AlterField(
            model_name="taghistory",
            name="repository",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="registry_core.repository",
            ),
        ),
    ]
