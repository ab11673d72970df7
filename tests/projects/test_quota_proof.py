"""The daily proof of quotas: artifacts against pairs, pairs against the counter; what drifted is told and mended."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from config.celery import app
from projects.models import Project, Quota
from projects.policies import quota
from projects.policies.quota import Drift
from rbac.actions import ensure_seed
from registry_core.models import Artifact, NamespaceBlob
from tests.api.conftest import push_image
from tests.builders import make_project

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def seeded(db: None) -> None:
    ensure_seed("Tested-with-Password1")


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def image(project: Project) -> Artifact:
    return push_image(project, "app", "v1")


def used(project: Project) -> int:
    return Quota.objects.get(project=project).used


def age(project: Project, *, days: float) -> None:
    then = timezone.now() - timedelta(days=days)
    Quota.objects.filter(project=project).update(proven_at=then)


def test_nothing_is_found_where_nothing_is_wrong(
    project: Project, image: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    push_image(project, "other", "v1")
    before = used(project)
    assert before > image.size
    assert quota.prove(project.namespace_id).is_none
    assert used(project) == before
    assert caplog.records == []


def test_a_wrong_counter(project: Project, image: Artifact, caplog: pytest.LogCaptureFixture) -> None:
    Quota.objects.filter(project=project).update(used=image.size + 1000)
    with caplog.at_level(logging.ERROR, "breakwater.quota"):
        assert quota.prove(project.namespace_id) == Drift(project.name, 0, 0, -1000)
    (line,) = caplog.records
    assert line.fields["project"] == project.name  # type: ignore[attr-defined]
    assert used(project) == image.size


def test_pairs_that_are_lacking(project: Project, image: Artifact) -> None:
    NamespaceBlob.objects.filter(namespace=project.namespace, digest=image.digest).delete()
    lost = len(image.payload)
    assert quota.prove(project.namespace_id) == Drift(project.name, lost, 0, -lost)
    assert used(project) == image.size
    assert quota.prove(project.namespace_id).is_none


def test_pairs_that_nothing_stands_behind(project: Project, image: Artifact) -> None:
    NamespaceBlob.objects.create(namespace=project.namespace, digest="sha256:" + "0" * 64, size=500)
    assert quota.prove(project.namespace_id) == Drift(project.name, 0, 500, 500)
    assert used(project) == image.size
    assert quota.prove(project.namespace_id).is_none


def test_other_projects_are_left_alone(project: Project, image: Artifact) -> None:
    other = make_project()
    push_image(other, "app", "v1", seed="other")
    Quota.objects.filter(project=other).update(used=1)
    assert quota.prove(project.namespace_id).is_none
    assert used(other) == 1


def test_a_project_that_is_gone(project: Project) -> None:
    namespace_id = project.namespace_id
    project.delete()
    assert quota.prove(namespace_id).is_none


def test_each_project_has_its_turn_once_a_day(project: Project, image: Artifact) -> None:
    recent = make_project()
    for wrong in (project, recent):
        Quota.objects.filter(project=wrong).update(used=1 << 40)
    age(project, days=1.01)
    age(recent, days=0.9)
    assert [drift.project for drift in quota.prove_quotas()] == [project.name]
    assert (used(project), used(recent)) == (image.size, 1 << 40)
    Quota.objects.filter(project=project).update(used=1 << 40)
    assert quota.prove_quotas() == []


def test_the_scheduler_rings_for_it() -> None:
    entry = settings.CELERY_BEAT_SCHEDULE["prove-quotas"]
    app.loader.import_default_modules()
    assert entry["task"] in app.tasks
    assert (
        float(str(entry["schedule"])) <= 3600
    )  # a registry that runs for an hour a day proves its quotas, too
