"""What the audit log holds by hour and day, what waits for a syslog server, and an index of who did something."""

from django.db import migrations, models

BY_USER = "CREATE INDEX auditlog_of_user ON registry_core_auditlog (username, occurred_at DESC, id DESC)"


class Migration(migrations.Migration):
    dependencies = [("registry_core", "0006_no_index_of_repository_alone")]

    operations = [
        migrations.CreateModel(
            name="AuditCount",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "namespace_id", "start", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("namespace_id", models.BigIntegerField()),
                ("start", models.DateTimeField()),
                ("rows", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="AuditForward",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("username", models.CharField(max_length=255)),
                ("operation", models.CharField(max_length=32)),
                ("resource_type", models.CharField(max_length=32)),
                ("resource", models.TextField()),
                ("description", models.TextField()),
                ("succeeded", models.BooleanField(default=True)),
                ("namespace_id", models.BigIntegerField(null=True)),
                ("address", models.GenericIPAddressField(null=True)),
                ("occurred_at", models.DateTimeField()),
            ],
        ),
        migrations.RunSQL(BY_USER, "DROP INDEX auditlog_of_user"),
    ]
