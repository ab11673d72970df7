"""Signatures under cosign's tags `sha256-<digest>.sig` become what new ones are: attached to that digest."""

from django.db import migrations

ATTACH = """
UPDATE registry_core_artifact a SET subject_digest = named.subject, subject_id = (
    SELECT s.id FROM registry_core_artifact s WHERE s.repository_id = a.repository_id AND s.digest = named.subject)
FROM (SELECT DISTINCT ON (artifact_id) artifact_id, 'sha256:' || substr(name, 8, 64) AS subject
      FROM registry_core_tag WHERE name ~ '^sha256-[0-9a-f]{64}[.]sig$' ORDER BY artifact_id, name) AS named
WHERE named.artifact_id = a.id AND a.subject_digest = '' AND a.digest <> named.subject
  AND position('application/vnd.dev.cosign.simplesigning.v1+json'::bytea IN a.payload) > 0
"""


class Migration(migrations.Migration):
    dependencies = [("registry_core", "0004_namespace_blob_key")]

    operations = [migrations.RunSQL(ATTACH, migrations.RunSQL.noop)]
