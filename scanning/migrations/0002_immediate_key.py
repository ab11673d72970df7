"""A foreign key that is checked at once: a deferred one fails at COMMIT, after the answer was decided."""

from django.db import migrations

IMMEDIATE_KEY = """
DO $$
DECLARE c record;
BEGIN
  FOR c IN SELECT conname FROM pg_constraint
           WHERE contype = 'f' AND condeferrable AND conrelid = 'scanning_cveallowlist'::regclass
  LOOP
    EXECUTE format('ALTER TABLE scanning_cveallowlist ALTER CONSTRAINT %I NOT DEFERRABLE', c.conname);
  END LOOP;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("scanning", "0001_initial")]

    operations = [migrations.RunSQL(IMMEDIATE_KEY, migrations.RunSQL.noop)]
