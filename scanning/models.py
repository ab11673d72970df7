"""What is known of vulnerabilities, and which of them somebody has waived."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from projects.models import Project


class CveAllowlist(models.Model):
    """CVEs that hold no image back, of one project or, without one, of the system. One that was never set has no row.

    `items` are ids, any text. `expires_at` in seconds since 1970; None never ends.
    """

    project = models.OneToOneField(Project, on_delete=models.CASCADE, null=True, related_name="cve_allowlist")
    items = models.JSONField(default=list)
    expires_at = models.BigIntegerField(null=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            # OneToOne lets any number of rows be without a project.
            models.UniqueConstraint(fields=["project"], name="cve_allowlist_of", nulls_distinct=False),
        ]
