"""A registry that was filled before there were quotas: what the migrations make of it is what it would have today."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from projects.models import Quota
from rbac.actions import ensure_seed
from registry_core import accounting
from registry_core.models import Artifact, NamespaceBlob
from tests.api.conftest import push_blob, push_image, push_index
from tests.builders import make_project

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


@pytest.mark.django_db(transaction=True)
def test_quotas_and_signatures_of_an_older_registry() -> None:
    ensure_seed("Tested-with-Password1")
    project, limited = make_project(), make_project()
    image = push_image(project, "app", "v1")
    push_index(project, "app", "all", image)
    push_image(project, "other", "v1", seed="shared")
    push_image(project, "again", "v1", seed="shared")
    layer = {"mediaType": SIMPLE_SIGNING, **push_blob(image.repository_id, b"{}")}
    signature = push_image(project, "app", f"sha256-{image.digest[7:]}.sig", layers=[layer])
    assert signature.subject_id == image.pk
    Artifact.objects.filter(pk=signature.pk).update(subject_digest="", subject=None)
    Quota.objects.filter(project=limited).update(hard=5000)
    used = Quota.objects.get(project=project).used
    pairs = set(NamespaceBlob.objects.values_list("namespace_id", "digest", "size"))
    assert used > 0

    call_command("migrate", "projects", "0005", verbosity=0)
    call_command("migrate", "registry_core", "0002", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT storage_limit FROM projects_project WHERE id = %s", [limited.pk])
        assert cursor.fetchone() == (5000,)
    call_command("migrate", "registry_core", verbosity=0)
    call_command("migrate", "projects", verbosity=0)

    assert set(NamespaceBlob.objects.values_list("namespace_id", "digest", "size")) == pairs
    assert accounting.mend(project.namespace_id) == (0, 0)
    limits = {q.project_id: (q.hard, q.used) for q in Quota.objects.filter(project__in=[project, limited])}
    assert limits == {project.pk: (-1, used), limited.pk: (5000, 0)}
    signature.refresh_from_db()
    assert (signature.subject_digest, signature.subject_id) == (image.digest, image.pk)
