"""The index of artifacts by time holds what lists show, so that counting and skipping need no look at the rows."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry_core", "0007_audit_counts_and_forwarding")]

    operations = [
        migrations.RemoveIndex(model_name="artifact", name="artifact_newest_first"),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(
                condition=models.Q(("subject_digest", "")),
                fields=["repository", "-pushed_at", "-id"],
                include=("kind",),
                name="artifact_listed_newest_first",
            ),
        ),
    ]
