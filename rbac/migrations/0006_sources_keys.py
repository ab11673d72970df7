from django.db import migrations

# At once, like every key here (0002).
IMMEDIATE_KEYS = """
DO $$
DECLARE c record;
BEGIN
  FOR c IN SELECT conname, conrelid::regclass AS tab FROM pg_constraint
           WHERE contype = 'f' AND condeferrable AND conrelid::regclass::text IN ('rbac_externalidentity', 'rbac_groupmembership')
  LOOP
    EXECUTE format('ALTER TABLE %s ALTER CONSTRAINT %I NOT DEFERRABLE', c.tab, c.conname);
  END LOOP;
END $$
"""


class Migration(migrations.Migration):
    # A migration of its own: Django adds the keys of tables at the end of the one that makes them.
    dependencies = [("rbac", "0005_sources")]

    operations = [migrations.RunSQL(IMMEDIATE_KEYS, migrations.RunSQL.noop)]
