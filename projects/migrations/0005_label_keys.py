from django.db import migrations

# Artifacts are deleted by SQL that knows nothing of labels: the database takes the attachments along. And at once,
# like every key here (0002).
CASCADING_KEYS = """
DO $$
DECLARE c record;
BEGIN
  FOR c IN SELECT conname, pg_get_constraintdef(oid) AS def FROM pg_constraint
           WHERE contype = 'f' AND conrelid = 'projects_artifactlabel'::regclass
  LOOP
    EXECUTE format('ALTER TABLE projects_artifactlabel DROP CONSTRAINT %I, ADD CONSTRAINT %I %s ON DELETE CASCADE',
                   c.conname, c.conname, regexp_replace(c.def, ' DEFERRABLE.*$', ''));
  END LOOP;
END $$
"""


class Migration(migrations.Migration):
    # A migration of its own: Django adds the keys of a table at the end of the one that makes it.
    dependencies = [("projects", "0004_labels")]

    operations = [migrations.RunSQL(CASCADING_KEYS, migrations.RunSQL.noop)]
