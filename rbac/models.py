"""Who there is, and which roles they hold where."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models.functions import Now

from projects.models import Project


class UserManager(BaseUserManager["User"]):
    def living(self) -> models.QuerySet[User]:
        return self.get_queryset().filter(deleted=False)


class User(AbstractBaseUser):
    """A person. Deleting keeps the row and renames it `<name>#<id>`: the name is free again (contract 7).

    Name and e-mail are at most 255 long; the columns leave room for the `#<id>`.
    """

    username = models.CharField(max_length=280, unique=True)
    email = models.CharField(max_length=280, blank=True, default="")
    realname = models.CharField(max_length=255, blank=True, default="")
    comment = models.CharField(max_length=255, blank=True, default="")
    sysadmin_flag = models.BooleanField(default=False)
    # An administrator by a group of the source that they come from, and whether that source knows them no more.
    admin_by_group = models.BooleanField(default=False)
    suspended = models.BooleanField(default=False)
    deleted = models.BooleanField(default=False)
    # The CIDRs that this person's credentials are good from; empty means anywhere.
    networks = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    last_login = None

    objects = UserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar = []

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["email"], name="user_email", condition=~models.Q(email="")),
        ]

    @property
    def subject(self) -> str:
        return f"u:{self.pk}"


class UserGroup(models.Model):
    """A group of some directory; `type` is Harbor's number of its kind."""

    class Type(models.IntegerChoices):
        LDAP = 1
        HTTP = 2
        OIDC = 3

    name = models.CharField(max_length=255, unique=True)
    type = models.IntegerField()
    ldap_dn = models.CharField(max_length=512, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())


class ExternalIdentity(models.Model):
    """That a user is who a source calls `subject`; that name stays when the person is renamed there."""

    source = models.CharField(max_length=255)
    subject = models.CharField(max_length=1024)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="external_identities")
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["source", "subject"], name="external_identity"),
        ]


class GroupMembership(models.Model):
    """That a user is in a group, as their source said last."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="group_memberships")
    group = models.ForeignKey(UserGroup, on_delete=models.CASCADE, related_name="people")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "group"], name="group_membership")]


class MemberQuerySet(models.QuerySet["Member"]):
    def of_user(self, number: int) -> MemberQuerySet:
        """Their own memberships and those of their groups."""
        groups = GroupMembership.objects.filter(user=number).values("group")
        return self.filter(models.Q(user=number) | models.Q(group__in=groups))


class Member(models.Model):
    """A role in a project, of a user or of a group; a role that is not one of `Role` grants nothing."""

    class Role(models.IntegerChoices):
        PROJECT_ADMIN = 1
        DEVELOPER = 2
        GUEST = 3
        MAINTAINER = 4
        LIMITED_GUEST = 5

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="memberships")
    group = models.ForeignKey(UserGroup, on_delete=models.CASCADE, null=True, related_name="memberships")
    role = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    objects = MemberQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "user"], name="member_user"),
            models.UniqueConstraint(fields=["project", "group"], name="member_group"),
            models.CheckConstraint(
                condition=models.Q(user=None) ^ models.Q(group=None), name="member_is_user_or_group"
            ),
        ]


class Robot(models.Model):
    """An account for machines.

    `name` is the stored short name: `name` of a system robot, `project+name` of a project's. It stays when
    the project is renamed, so that the jobs that use it go on. Names are unique: no short name holds a `+`.
    `permissions` is the list of contract 4.5: [{kind, namespace, access: [{resource, action}]}]. Entries of
    kind project carry `namespace_id` too: that one decides, the name is only shown.
    A hash is `sha256$<hex>` of a generated secret, or Argon2id of a chosen one (design 5); two may live at a
    time.
    """

    class Level(models.TextChoices):
        SYSTEM = "system"
        PROJECT = "project"

    NEVER = -1

    name = models.CharField(max_length=512, unique=True)
    level = models.CharField(max_length=16, choices=Level.choices)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, related_name="robots")
    description = models.TextField(blank=True, default="")
    duration = models.BigIntegerField(default=NEVER)
    expires_at = models.BigIntegerField(default=NEVER)
    disable = models.BooleanField(default=False)
    editable = models.BooleanField(default=True)
    secret_hash = models.CharField(max_length=128)
    second_secret_hash = models.CharField(max_length=128, blank=True, default="")
    permissions = models.JSONField(default=list)
    networks = models.JSONField(default=list)
    creator_type = models.CharField(max_length=16, default="local")
    creator_ref = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(level="system", project=None)
                | models.Q(level="project", project__isnull=False),
                name="robot_level_fits_project",
            ),
        ]

    @property
    def subject(self) -> str:
        return f"r:{self.pk}"


class BrowserSession(models.Model):
    """Somebody who signed in by a form (contract 1.5); the cookie holds the token, this row its hash only.

    It lives for `session_timeout` after `renewed_at`, and no longer than the password that it began with: `credential`
    is that one's fingerprint.
    """

    token_hash = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="browser_sessions")
    credential = models.CharField(max_length=32)
    created_at = models.DateTimeField(db_default=Now())
    renewed_at = models.DateTimeField(db_default=Now(), db_index=True)
