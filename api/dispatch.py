"""From an HTTP request to an operation of the contract and back (contract 1).

The order is Harbor's: route, contract, then who asks; what an operation checks comes last.
An operation is a function from a Call to an Answer; api/urls.py lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from django.db.models import Model, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from api import contract, pagination, query, routing, serialization, validation
from api.errors import NotBuilt
from rbac.catalogue import Permission
from rbac.permissions import Identity, require
from registry_core import errors

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DEEP = 1000  # rows before a page
MAX_UNPAGED = 10_000  # rows that page_size=0 shows at once
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is what the contract's schema of the operation describes; bytes or text as they are; None for no body."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one operation, valid by the contract."""

    request: Request
    operation: contract.Operation
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    headers: Mapping[str, Any]
    body: Any
    raw_path: str
    query_pairs: Sequence[tuple[str, str]]

    @property
    def identity(self) -> Identity:
        return cast(Identity, self.request.user)

    @property
    def by(self) -> str:
        """Who acts, as audit rows and events name them."""
        return self.identity.principal.name

    def require(self, permission: Permission) -> None:
        """In the system; for what belongs to a project see addressing.py."""
        require(self.identity, permission)

    def require_sign_in(self) -> None:
        if self.identity.is_anonymous:
            raise errors.Unauthorized


View = Callable[[Call], Answer]


def created(call: Call, key: object, body: Any = None) -> Answer:
    """201 with the path of what was created, which is normally below the path of the request (contract 1.3)."""
    return Answer(body, 201, {"Location": f"{call.raw_path.rstrip('/')}/{key}"})


def listed(
    call: Call,
    rows: QuerySet[M],
    present: Callable[[list[M]], list[dict[str, Any]]],
    total: int | None = None,
    *,
    by_key: bool = False,
) -> Answer:
    """One page of `rows`. `present` gets the whole page, so that what belongs to its rows is fetched at once.

    `by_key`: the rows are many and wide, and no index has them in their order: keys are sorted, not rows.
    """
    page = pagination.Page.of(call.query)
    if is_counted := total is None:
        total = rows.count()
    if page.size <= 0 and total > MAX_UNPAGED:
        text = f"a list of {total} is shown in pages only: give page_size (1 to 100)"
        raise errors.BadRequest(text, {"limit_without_pages": MAX_UNPAGED, "total": total})
    is_far = is_counted and page.size > 0 and (by_key or page.before >= DEEP)
    found = _far(rows, page.part, total) if is_far else list(rows[page.part])
    return Answer(present(found), headers=page_headers(call, page, total))


def _far(rows: QuerySet[M], part: slice, total: int) -> list[M]:
    """A page that lies deep: from the other end beyond the middle, and what is skipped by its keys alone."""
    start, stop = part.start, min(part.stop, total)
    if start >= stop:
        return []
    if start > total // 2:
        keys = list(rows.reverse().values_list("pk", flat=True)[total - stop : total - start])[::-1]
    else:
        keys = list(rows.values_list("pk", flat=True)[start:stop])
    found = {row.pk: row for row in rows.filter(pk__in=keys)}
    return [found[key] for key in keys if key in found]


def page_headers(call: Call, page: pagination.Page, total: int) -> dict[str, str]:
    headers = {"X-Total-Count": str(total)}
    if link := page.link(call.raw_path, call.query_pairs, total):
        headers["Link"] = link
    return headers


def search(call: Call, rows: QuerySet[M], fields: query.FieldMap, **exact: query.Match) -> QuerySet[M]:
    """`rows` narrowed and ordered by q and sort; `exact` are old parameters, which count more than q (contract 1.2)."""
    matches = query.parse(call.query.get("q") or "") | exact
    return rows.filter(fields.conditions(matches)).order_by(
        *fields.order(query.parse_sort(call.query.get("sort") or ""))
    )


class ContractView(APIView):
    """The one Django view of /api/v2.0. DRF asks authentication.Credentials who calls, and errors.handle for errors."""

    operations: Mapping[str, View] = {}
    note_failure: Callable[[Call, errors.RegistryError], None] | None = None
    http_method_names = ["get", "head", "post", "put", "patch", "delete", "options", "trace"]

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {}  # DRF would send Allow, which Harbor does not

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """DRF's hook before the handler; what it raises becomes an error body."""
        self.call = self._read(request)
        request.user  # noqa: B018  whoever calls is looked at after the contract, before the operation

    def _read(self, request: Request) -> Call:
        method, raw_path = request.method or "", routing.raw_path(request.META)
        route = routing.find(method, raw_path)
        pairs = pagination.parse_query(request.META.get("QUERY_STRING", ""))
        inputs = validation.validate(
            route.operation, validation.Raw(route.values, pairs, request.headers, request.body)
        )
        return Call(
            request=request,
            operation=route.operation,
            path=inputs.path,
            query=inputs.query,
            headers=inputs.headers,
            body=inputs.body,
            raw_path=raw_path,
            query_pairs=pairs,
        )

    def _operate(self, request: Request) -> HttpResponse:
        operation = self.call.operation
        if (view := self.operations.get(operation.id)) is None:
            raise NotBuilt(
                f"{operation.id} is not built yet", {"operation": operation.id, "tag": operation.tag}
            )
        try:
            answer = view(self.call)
        except errors.RegistryError as e:
            if self.note_failure is not None:
                self.note_failure(self.call, e)
            raise
        return _response(operation, answer)

    get = head = post = put = patch = delete = trace = _operate
    options = _operate  # type: ignore[assignment]  # DRF would describe its parsers


def _response(operation: contract.Operation, answer: Answer) -> HttpResponse:
    if isinstance(answer.body, bytes):
        content = answer.body
    elif isinstance(answer.body, str):
        content = answer.body.encode()
    else:
        content = serialization.write(operation.answer, answer.body)
    response = HttpResponse(content, status=answer.status, content_type=answer.content_type)
    if not content and answer.status < 400:
        del response["Content-Type"]  # clients parse what is called JSON
    for name, value in answer.headers.items():
        # As Go's server does: what would end the line becomes a blank, other text goes out as UTF-8.
        response[name] = _CONTROL.sub(" ", value).encode("utf-8", "replace").decode("latin-1")
    return response
