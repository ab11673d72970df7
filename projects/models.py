"""Projects: the grouping of content that people administer.

A project's name is its namespace's, so that a rename is one UPDATE (design 3, Rename).
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from registry_core.models import Artifact, Namespace


class LabelQuerySet(models.QuerySet["Label"]):
    def of_project(self, project_id: int) -> LabelQuerySet:
        return self.filter(scope=Label.Scope.PROJECT, project_id=project_id)

    def of_all(self) -> LabelQuerySet:
        return self.filter(scope=Label.Scope.GLOBAL)


class ProjectQuerySet(models.QuerySet["Project"]):
    def named(self, name: str) -> ProjectQuerySet:
        return self.filter(namespace__name=name)


class Project(models.Model):
    """`metadata` is Harbor's map of strings (contract 7); `public` is what its key means to the decision.

    The owner is a name and a number, not a foreign key: people are known one layer up (style.md 2).
    `networks` lists the CIDRs that callers must come from; empty means anywhere.
    """

    namespace = models.OneToOneField(Namespace, on_delete=models.PROTECT, related_name="project")
    owner_id = models.BigIntegerField()
    owner_name = models.CharField(max_length=255)
    public = models.BooleanField(default=False)
    metadata = models.JSONField(default=dict)
    networks = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    objects = ProjectQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["namespace"], name="project_public", condition=models.Q(public=True)),
        ]

    @property
    def name(self) -> str:
        return self.namespace.name


class Quota(models.Model):
    """What a project's artifacts take, and may take, of the storage; bytes (projects/policies/quota.py).

    `hard` is -1 without a limit. `used` counts every digest that the project holds once. `proven_at`: when it was last
    compared with what the project really holds.
    """

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="quota")
    hard = models.BigIntegerField(default=-1)
    used = models.BigIntegerField(default=0)
    proven_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())


class Label(models.Model):
    """A word to mark artifacts with, of one project or of all.

    `project_id` is a number and no foreign key: labels outlive their project (contract 6.8). 0 for a global one.
    """

    class Scope(models.TextChoices):
        GLOBAL = "g"
        PROJECT = "p"

    scope = models.CharField(max_length=1, choices=Scope.choices)
    project_id = models.BigIntegerField(default=0)
    name = models.CharField(max_length=128, blank=True)
    description = models.TextField(blank=True, default="")
    color = models.CharField(max_length=16, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    objects = LabelQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["scope", "project_id", "name"], name="label_name"),
        ]


class ArtifactLabel(models.Model):
    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="+")
    label = models.ForeignKey(Label, on_delete=models.CASCADE, related_name="artifacts")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["artifact", "label"], name="artifact_label"),
        ]
