"""A foreign key that is checked at once: a deferred one fails at COMMIT, after the answer was decided."""

from django.db import migrations

IMMEDIATE_KEY = """
DO $$
DECLARE c record;
BEGIN
  FOR c IN SELECT conname FROM pg_constraint
           WHERE contype = 'f' AND condeferrable AND conrelid = 'registry_core_namespaceblob'::regclass
  LOOP
    EXECUTE format('ALTER TABLE registry_core_namespaceblob ALTER CONSTRAINT %I NOT DEFERRABLE', c.conname);
  END LOOP;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("registry_core", "0003_namespace_blob")]

    operations = [migrations.RunSQL(IMMEDIATE_KEY, migrations.RunSQL.noop)]
