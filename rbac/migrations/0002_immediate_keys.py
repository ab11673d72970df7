"""Foreign keys that are checked at once: a deferred one fails at COMMIT, after the answer was decided."""

from django.db import migrations

IMMEDIATE_KEYS = """
DO $$
DECLARE c record;
BEGIN
  FOR c IN SELECT conname, conrelid::regclass AS tab FROM pg_constraint
           WHERE contype = 'f' AND condeferrable AND conrelid::regclass::text LIKE 'rbac\\_%'
  LOOP
    EXECUTE format('ALTER TABLE %s ALTER CONSTRAINT %I NOT DEFERRABLE', c.tab, c.conname);
  END LOOP;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("rbac", "0001_initial")]

    operations = [migrations.RunSQL(IMMEDIATE_KEYS, migrations.RunSQL.noop)]
