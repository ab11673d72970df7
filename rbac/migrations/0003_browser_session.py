from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("rbac", "0002_immediate_keys")]

    operations = [
        migrations.CreateModel(
            name="BrowserSession",
            fields=[
                ("token_hash", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("credential", models.CharField(max_length=32)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("renewed_at", models.DateTimeField(db_default=Now(), db_index=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=models.deletion.CASCADE, related_name="browser_sessions", to="rbac.user"
                    ),
                ),
            ],
        ),
    ]
