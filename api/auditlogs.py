"""Tag auditlog, and a project's log (contract 6.9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import F, OrderBy, Q, QuerySet

from api import addressing, query
from api.dispatch import DEEP, MAX_UNPAGED, Answer, Call, page_headers
from api.pagination import Page
from projects.models import Project
from rbac.catalogue import Permission
from rbac.permissions import can
from rbac.visibility import projects_with
from registry_core import audit
from registry_core.audit_pages import Part
from registry_core.errors import BadRequest
from registry_core.models import AuditLog

MAX_COUNTED = 10_000  # of what a search finds; beyond it the total is PostgreSQL's estimate
_PATIENCE = "10s"
_CANCELLED = "57014"


def _of_project(match: query.Match) -> Q:
    projects = Project.objects.filter(query.compare(query.Field("project_id", "id", "integer"), match))
    return Q(namespace_id__in=projects.values("namespace_id"))


FIELDS = query.FieldMap(
    [
        query.Field("id", "id", "integer"),
        query.Field("project_id", condition=_of_project, sortable=False),
        query.Field("username"),
        query.Field("operation"),
        query.Field("resource_type"),
        query.Field("resource"),
        query.Field("op_desc", "description", go="OperationDescription"),
        query.Field("op_result", "succeeded", "boolean", go="IsSuccessful"),
        query.Field("op_time", "occurred_at", "time"),
    ],
    default=("-occurred_at", "-id"),
)


def present_rows(rows: Sequence[AuditLog]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "username": row.username,
            "resource": row.resource,
            "resource_type": row.resource_type,
            "operation": row.operation,
            "operation_description": row.description,
            "operation_result": row.succeeded,
            "op_time": row.occurred_at,
        }
        for row in rows
    ]


def list_audit_log_exts(call: Call) -> Answer:
    """All of it for who may see the system's log; else what was done in the caller's own projects."""
    call.require_sign_in()
    if can(call.identity, Permission.AUDIT_LOG_LIST):
        return _listed(call, None)
    own = projects_with(call.identity, Permission.LOG_LIST)
    return _listed(call, list(own.values_list("namespace_id", flat=True)))


def get_log_exts(call: Call) -> Answer:
    return _listed(call, [addressing.project(call, Permission.LOG_LIST).namespace_id])


def list_audit_logs(call: Call) -> Answer:
    """Empty: everything has been in the newer log from the beginning."""
    call.require_sign_in()
    return _empty(call)


def get_logs(call: Call) -> Answer:
    addressing.project(call, Permission.LOG_LIST)
    return _empty(call)


def list_audit_log_event_types(call: Call) -> Answer:
    call.require(Permission.AUDIT_LOG_LIST)
    return Answer([{"event_type": name} for name in audit.EVENT_TYPES])


def _empty(call: Call) -> Answer:
    query.parse(call.query.get("q") or "")
    return Answer([], headers=page_headers(call, Page.of(call.query), 0))


def _listed(call: Call, namespaces: list[int] | None) -> Answer:
    condition = FIELDS.conditions(query.parse(call.query.get("q") or ""))
    order = FIELDS.order(query.parse_sort(call.query.get("sort") or ""))
    page = Page.of(call.query)
    way = _way(order)
    if condition or way is None:
        rows = AuditLog.objects.filter(condition)
        if namespaces is not None:
            rows = rows.filter(namespace_id__in=namespaces)
        return _searched(call, page, rows.order_by(*order))
    part = Part(namespaces)
    tally = part.tally()
    _check_unpaged(page, tally.total)
    size = page.size if page.size > 0 else tally.total
    found = part.read(tally, max(page.before, 0), size, oldest_first=way == "oldest")
    return _page(call, page, found, tally.total, is_exact=tally.is_exact)


def _way(order: Sequence[OrderBy | str]) -> str | None:
    """By time alone, which the log's own order is for."""
    if tuple(order[:2]) == FIELDS.default:
        return "newest"
    first = order[0]
    if len(order) == 2 and isinstance(first, OrderBy) and first.expression == F("occurred_at"):
        return "newest" if first.descending else "oldest"
    return None


def _searched(call: Call, page: Page, rows: QuerySet[AuditLog]) -> Answer:
    """What no index answers may take long, and then is given up."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{_PATIENCE}'")
            total = rows.order_by()[: MAX_COUNTED + 1].count()
            is_exact = total <= MAX_COUNTED
            if not is_exact:
                total = max(total, _estimate(rows))
            _check_unpaged(page, total)
            found = _read(rows, page)
    except OperationalError as e:
        if getattr(e.__cause__, "pgcode", None) != _CANCELLED:
            raise
        text = "the search takes too long: narrow it by op_time, username or project_id"
        raise BadRequest(text, {"limit": _PATIENCE}) from e
    return _page(call, page, found, total, is_exact=is_exact)


def _read(rows: QuerySet[AuditLog], page: Page) -> list[AuditLog]:
    """What is skipped before a page that lies deep is skipped in an index, where it has all that is asked for."""
    if page.size <= 0 or page.before < DEEP:
        return list(rows[page.part])
    places = list(rows.values_list("pk", "occurred_at")[page.part])
    if not places:
        return []
    times = [at for _, at in places]  # which months to look into
    found = AuditLog.objects.filter(pk__in=[pk for pk, _ in places], occurred_at__range=(min(times), max(times)))
    by_key = {row.pk: row for row in found}
    return [by_key[pk] for pk, _ in places if pk in by_key]


def _estimate(rows: QuerySet[AuditLog]) -> int:
    with connection.cursor() as cursor:
        sql, arguments = rows.order_by().query.sql_with_params()
        cursor.execute(f"EXPLAIN (FORMAT json) {sql}", arguments)
        return int(cursor.fetchone()[0][0]["Plan"]["Plan Rows"])


def _check_unpaged(page: Page, total: int) -> None:
    if page.size <= 0 and total > MAX_UNPAGED:
        text = "the log is shown in pages only: give page_size (1 to 100)"
        raise BadRequest(text, {"limit_without_pages": MAX_UNPAGED})


def _page(call: Call, page: Page, found: list[AuditLog], total: int, *, is_exact: bool) -> Answer:
    """Where the total is an estimate, a full page has a next one."""
    if not is_exact and page.size > 0 and len(found) == page.size:
        total = max(total, page.number * page.size + 1)
    return Answer(present_rows(found), headers=page_headers(call, page, total))
