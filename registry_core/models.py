"""Content: what is stored, under which names, and every byte on exactly one line of the ledger (design 2.3, 3).

Edges (artifact→blob, index→child, subject→referrer) carry the digest and a foreign key; the key is null while the part
is absent. Foreign keys between these tables are made immediate by migration (design 3, Locks).
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.db.models.functions import Now

DIGEST_LENGTH = 7 + 128


class Namespace(models.Model):
    """The first component of a repository's name; a project is one-to-one to it, so a rename is one UPDATE."""

    name = models.CharField(max_length=255, unique=True, db_collation="C")


class RepositoryQuerySet(models.QuerySet["Repository"]):
    def listed(self) -> RepositoryQuerySet:
        """Those that have held an artifact: an upload alone makes no repository that anybody sees."""
        return self.filter(is_listed=True)

    def named(self, full_name: str) -> RepositoryQuerySet:
        namespace, _, path = full_name.partition("/")
        return self.filter(namespace__name=namespace, path=path)


class Repository(models.Model):
    """A repository's name without its project; the full name is `namespace.name/path`."""

    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="repositories")
    path = models.CharField(max_length=255, db_collation="C")
    description = models.TextField(blank=True, default="")
    pull_count = models.BigIntegerField(default=0)
    is_listed = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    objects = RepositoryQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["namespace", "path"], name="repository_name"),
        ]

    @property
    def name(self) -> str:
        return f"{self.namespace.name}/{self.path}"


class Blob(models.Model):
    """Bytes that are stored once for all repositories. `key` is opaque and never reused (design 2.2)."""

    digest = models.CharField(max_length=DIGEST_LENGTH, unique=True)
    size = models.BigIntegerField()
    key = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    # Set by scrub: the bytes are gone or wrong; the next push of the digest brings a new key.
    missing_since = models.DateTimeField(null=True, blank=True)


def _of_repository(related_name: str) -> models.ForeignKey[Repository, Repository]:
    """Found by an index that goes on after the repository. With one of it alone the planner reads a whole repository
    wherever it expects to meet one row of many soon.
    """
    return models.ForeignKey(Repository, on_delete=models.CASCADE, related_name=related_name, db_index=False)


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    def in_namespace(self, name: str) -> ArtifactQuerySet:
        return self.filter(repository__namespace__name=name)

    def untagged(self) -> ArtifactQuerySet:
        return self.filter(tags=None)


class Artifact(models.Model):
    """A stored manifest or index of one repository; the document's bytes live in its Payload row.

    `size` is the document plus its config and layers (an index: plus its children), in bytes.
    `kind` is Harbor's type (IMAGE, CHART, …; contract 3.5) and `extra_attrs` what lists show of the config, read once
    at push; null where Harbor has none.
    """

    repository = _of_repository("artifacts")
    digest = models.CharField(max_length=DIGEST_LENGTH)
    media_type = models.CharField(max_length=255)
    artifact_type = models.CharField(max_length=255, blank=True, default="")
    kind = models.CharField(max_length=255, default="UNKNOWN")
    config_media_type = models.CharField(max_length=255, blank=True, default="")
    size = models.BigIntegerField(default=0)
    subject_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True, default="")
    subject = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="referrers")
    annotations = models.JSONField(default=dict)
    extra_attrs = models.JSONField(null=True, default=None)
    pushed_at = models.DateTimeField(db_default=Now())
    pulled_at = models.DateTimeField(null=True, blank=True)
    payload = models.BinaryField()

    objects = ArtifactQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["repository", "digest"], name="artifact_digest"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["repository", "subject_digest", "id"],
                name="artifact_by_subject",
                condition=~models.Q(subject_digest=""),
            ),
            # Of what lists show: counted and skipped without a look at the rows.
            models.Index(
                fields=["repository", "-pushed_at", "-id"],
                name="artifact_listed_newest_first",
                condition=models.Q(subject_digest=""),
                include=["kind"],
            ),
            HashIndex(fields=["digest"], name="artifact_in_any_repository"),
        ]


class Tag(models.Model):
    repository = _of_repository("tags")
    name = models.CharField(max_length=128, db_collation="C")
    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="tags")
    pushed_at = models.DateTimeField(db_default=Now())
    pulled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["repository", "name"], name="tag_name")]


class TagHistory(models.Model):
    """Where a tag pointed, one row a move; `to_digest` is empty when the tag was deleted."""

    repository = _of_repository("+")
    name = models.CharField(max_length=128, db_collation="C")
    from_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True, default="")
    to_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True, default="")
    moved_by = models.CharField(max_length=255)
    moved_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [models.Index(fields=["repository", "name", "-id"], name="tag_history")]


class ArtifactBlob(models.Model):
    """What a manifest names as config and layers. `repository` repeats the artifact's, so that a read finds by it."""

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="blobs")
    repository = _of_repository("+")
    digest = models.CharField(max_length=DIGEST_LENGTH)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, related_name="artifacts")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["artifact", "digest"], name="artifact_blob"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["repository", "digest"], name="artifact_blob_in_repository"),
        ]


class ArtifactChild(models.Model):
    """What an index names. A child belongs to the index's own repository."""

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="children")
    repository = _of_repository("+")
    digest = models.CharField(max_length=DIGEST_LENGTH)
    child = models.ForeignKey(Artifact, on_delete=models.PROTECT, null=True, related_name="parents")
    descriptor = models.JSONField(default=dict)
    position = models.IntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["artifact", "position"], name="artifact_child"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["repository", "digest"], name="artifact_child_digest"),
        ]


class RepositoryBlob(models.Model):
    """A lease: until `leased_until` this principal may read the blob here, and the collector leaves it (design 3)."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="+")
    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="leases")
    principal = models.CharField(max_length=255)
    leased_until = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["repository", "blob", "principal"], name="repository_blob"),
        ]
        indexes: ClassVar = [models.Index(fields=["leased_until"], name="repository_blob_end")]


class NamespaceBlob(models.Model):
    """A digest that a namespace holds, be it in many repositories: what quotas count (registry_core/accounting.py).

    Manifests are counted as blobs are, as Harbor does. Bytes of a part that is absent are counted when it arrives.
    """

    pk = models.CompositePrimaryKey("namespace_id", "digest")
    # The primary key finds by namespace already.
    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="+", db_index=False)
    digest = models.CharField(max_length=DIGEST_LENGTH, db_collation="C")
    size = models.BigIntegerField()


class Upload(models.Model):
    """A blob session, bound to its repository and principal and not to a token.

    `offset` bytes are kept. `content_digest` is the digest of exactly those bytes, or is empty when the next request
    must read them again. One request writes at a time: it holds `writer` until `writer_until`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="+")
    principal = models.CharField(max_length=255)
    key = models.CharField(max_length=64, unique=True)
    algorithm = models.CharField(max_length=16, default="sha256")
    offset = models.BigIntegerField(default=0)
    content_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True, default="")
    state = models.JSONField(default=dict)
    writer = models.UUIDField(null=True)
    writer_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["updated_at"], name="upload_idle"),
            models.Index(fields=["principal"], name="upload_principal"),
        ]


class DeletedObject(models.Model):
    """Bytes that nothing may read any more; they leave the storage once `due_at` has come, and then this row goes."""

    key = models.CharField(max_length=64, unique=True)
    size = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=DIGEST_LENGTH, blank=True, default="")
    state = models.JSONField(default=dict)
    due_at = models.DateTimeField()
    attempts = models.IntegerField(default=0)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["due_at", "id"], name="deleted_object_due")]


class CollectorCandidate(models.Model):
    """A blob to look at once `due_at` has come: its last edge went, or its lease ends then."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="+")
    due_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["due_at", "blob"], name="collector_candidate_due")]


class EventOutbox(models.Model):
    """An event, written in the transaction of its change (design 9)."""

    type = models.CharField(max_length=64)
    payload = models.JSONField()
    operator = models.CharField(max_length=255, blank=True, default="")
    occurred_at = models.DateTimeField(db_default=Now())
    planned_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["id"], name="event_unplanned", condition=models.Q(planned_at=None)),
        ]


class AuditLog(models.Model):
    """Who did what; partitioned by month, hence unmanaged and without foreign keys (design 2.10)."""

    username = models.CharField(max_length=255)
    operation = models.CharField(max_length=32)
    resource_type = models.CharField(max_length=32)
    resource = models.TextField()
    description = models.TextField()
    succeeded = models.BooleanField(default=True)
    namespace_id = models.BigIntegerField(null=True)
    address = models.GenericIPAddressField(null=True)
    occurred_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "registry_core_auditlog"


class AuditCount(models.Model):
    """How many rows of the audit log an hour, or a namespace's day, has (registry_core/audit_months.py)."""

    pk = models.CompositePrimaryKey("namespace_id", "start")
    namespace_id = models.BigIntegerField()
    start = models.DateTimeField()
    rows = models.BigIntegerField()


class AuditForward(models.Model):
    """A row of the audit log that waits for a syslog server (registry_core/forwarding.py)."""

    username = models.CharField(max_length=255)
    operation = models.CharField(max_length=32)
    resource_type = models.CharField(max_length=32)
    resource = models.TextField()
    description = models.TextField()
    succeeded = models.BooleanField(default=True)
    namespace_id = models.BigIntegerField(null=True)
    address = models.GenericIPAddressField(null=True)
    occurred_at = models.DateTimeField()


class TokenKey(models.Model):
    """A key that signs registry tokens; the private half is encrypted with the secret key (design 3, Tokens).

    It signs from `signs_from` on and verifies until `verifies_until`, so that keys overlap.
    """

    kid = models.CharField(max_length=64, unique=True)
    private_key = models.TextField()
    public_key = models.TextField()
    signs_from = models.DateTimeField()
    verifies_until = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())


class EpochChange(models.Model):
    """The newest change of rights of a subject: `u:<user>`, `r:<robot>`, `n:<namespace>`, `*` for everybody.

    One row a subject; `seq` grows in commit order (written under an advisory lock), so `seq > last` misses none.
    """

    subject = models.CharField(max_length=64, unique=True)
    seq = models.BigIntegerField(unique=True)
    changed_at = models.DateTimeField(db_default=Now())


class Heartbeat(models.Model):
    """A living process; `host` tells which of them share one map of versions (design 8.6)."""

    process = models.UUIDField(primary_key=True, default=uuid.uuid4)
    host = models.UUIDField()
    role = models.CharField(max_length=16)
    seen_at = models.DateTimeField(db_default=Now())
    flushed_at = models.DateTimeField(db_default=Now())


class Setting(models.Model):
    """A system setting that differs from its default."""

    name = models.CharField(max_length=64, primary_key=True)
    value = models.JSONField()
