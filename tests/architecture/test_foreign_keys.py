"""The upper layer owns the relation (style: "Where things live"): foreign keys point down the stack, never up."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models

# From the lowest up; what is not listed is a library's and may be pointed to by nobody but itself and us.
STACK = ["registry_core", "projects", "rbac", "scanning", "replication", "api", "config"]
SIDE_BY_SIDE = {"scanning", "replication"}


def relations() -> list[tuple[type[models.Model], models.Field[Any, Any]]]:
    return [
        (model, field)
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in STACK
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey | models.OneToOneField | models.ManyToManyField)
    ]


def test_there_are_relations_to_judge() -> None:
    owners = {model._meta.app_label for model, _ in relations()}
    assert {"registry_core", "projects", "rbac"} <= owners


@pytest.mark.parametrize(
    ("model", "field"), relations(), ids=lambda x: getattr(x, "__name__", None) or getattr(x, "name", None)
)
def test_foreign_keys_point_down(model: type[models.Model], field: models.Field[Any, Any]) -> None:
    assert field.related_model is not None
    owner, target = model._meta.app_label, field.related_model._meta.app_label
    assert target in STACK, f"{model.__name__}.{field.name} points out of the project, to {target}"
    assert STACK.index(target) <= STACK.index(owner), f"{model.__name__}.{field.name} points up, to {target}"
    assert {owner, target} != SIDE_BY_SIDE, f"{owner} and {target} know nothing of each other"


@pytest.mark.django_db
def test_keys_between_our_tables_are_immediate() -> None:
    """Deferred ones are checked at COMMIT: a push would fail after its answer was decided."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f' AND condeferrable "
            "AND conrelid::regclass::text ~ '^(registry_core|projects|rbac|scanning)_'"
        )
        assert cursor.fetchall() == []
        cursor.execute(
            "SELECT count(*) FROM pg_constraint "
            "WHERE contype = 'f' AND conrelid::regclass::text ~ '^registry_core_'"
        )
        assert cursor.fetchone()[0] >= 15
