"""Indexes of the repository alone go: others begin with it, and the planner took these to read a whole repository."""

import django.db.models.deletion
from django.db import migrations, models

# Not AlterField's own SQL: it makes the foreign keys anew, deferred ones, and reads both tables to check them.
DROP = """
DO $$
DECLARE i record;
BEGIN
  FOR i IN SELECT x.indexrelid::regclass AS name FROM pg_index x
           JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attname = 'repository_id'
           WHERE x.indnkeyatts = 1 AND x.indkey[0] = a.attnum AND x.indpred IS NULL AND x.indrelid IN (
               'registry_core_artifact'::regclass, 'registry_core_artifactblob'::regclass,
               'registry_core_artifactchild'::regclass, 'registry_core_tag'::regclass,
               'registry_core_taghistory'::regclass)
  LOOP
    EXECUTE format('DROP INDEX %s', i.name);
  END LOOP;
END $$
"""


def _unindexed(model: str, related_name: str) -> migrations.AlterField:
    key = models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name=related_name,
        to="registry_core.repository",
    )
    return migrations.AlterField(model_name=model, name="repository", field=key)


class Migration(migrations.Migration):
    dependencies = [("registry_core", "0005_signature_tags")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL(DROP, migrations.RunSQL.noop)],
            [
                _unindexed("artifact", "artifacts"),
                _unindexed("artifactblob", "+"),
                _unindexed("artifactchild", "+"),
                _unindexed("tag", "tags"),
                _unindexed("taghistory", "+"),
            ],
        )
    ]
