"""Our operations beside Harbor's OpenAPI file, one by one: path, method, parameters, bodies, and live answers.

The live answers are those of the replay (test_replay.py), which asks for every operation.
"""

from __future__ import annotations

from typing import Any

import pytest

from api import openapi
from api.urls import OPERATIONS
from tests.contract import documented
from tests.contract.deviations import fits
from tests.contract.documented import Documented, Node, operations
from tests.contract.replaying import Replay, scenes
from tests.contract.shared import CONTRACT, require
from tests.reporting import Report

# What never succeeds here, and why.
NO_SUCCESS = {
    "getInternalconfig": "one of Harbor's back doors for its own services; there are none",
    "getCert": "a registry that was made for a test has no certificate authority of its own",
    "setCliSecret": "only where people sign in by OIDC",
}
# Documented fields that no answer has, and why.
UNSEEN = {
    "AuditLog.*": "Harbor writes nothing to the old log any more",
    "InternalConfigurationValue.*": "see NO_SUCCESS",
    "AuthproxySetting.*": "only where an HTTP proxy signs people in",
    "GeneralInfo.authproxy_settings": "as above",
    "Registry*": "comes with replication and the proxy cache",
    "Project.registry_id": "as above",
    "ProjectSummary.registry": "as above",
    "ProjectMetadata.max_upstream_conn": "as above",
    "ProjectMetadata.proxy_cache_filter_*": "as above",
    "ProjectMetadata.retention_id": "comes with retention",
    "Artifact.scan_overview": "comes with scanning",
    "Artifact.sbom_overview": "as above",
    "NativeReportSummary.*": "as above",
    "VulnerabilitySummary.*": "as above",
    "SBOMOverview.*": "as above",
    "Scanner.*": "as above",
    "ScannerRegistration.*": "as above",
    "ConfigurationsResponse.scan_all_policy.*": "reads as {} (contract 5)",
    "OIDCUserInfo.*": "only where people sign in by OIDC",
    "UserResp.oidc_user_meta": "as above",
    "UserGroup.ldap_group_dn": "only where groups come from LDAP",
    "Project.deleted": "false, hence left out, of everything that is shown",
    "Project.togglable": "as above",
    "Robot.secret": "shown once, by another model",
    "ComponentHealthStatus.error": "nothing is sick here (tests/api/test_health.py)",
    "SearchRepository.pull_count": "0, hence left out: no scene pulls before it searches",
    "Artifact.inherited_accessories": "no scene asks for them",
    "Platform.OsVersion": "no scene pushes such an index (tests/api/test_artifacts.py)",
    "Platform.variant": "as above",
    "Reference.annotations": "as above",
}

OURS = openapi.document(OPERATIONS)
BUILT = [operation for operation in operations() if operation.id in OPERATIONS]
each_operation = pytest.mark.parametrize(
    "operation", BUILT or [pytest.param(None, id="none")], ids=lambda operation: getattr(operation, "id", "none")
)


def test_all_operations_of_these_tags_are_built(report: Report) -> None:
    require(CONTRACT)
    absent = {operation.id for operation in operations()} - set(OPERATIONS)
    report(f"{len(BUILT)} operations of {len(documented.TAGS)} tags; not built: {', '.join(sorted(absent)) or 'none'}")
    assert absent == set()


@each_operation
def test_path_method_parameters_and_bodies(operation: Documented) -> None:
    require(CONTRACT)
    ours = OURS["paths"][operation.path][operation.method.lower()]
    assert (ours["operationId"], ours["tags"]) == (operation.id, [operation.tag])
    assert _our_parameters(ours) == _their_parameters(operation)
    (body,) = [p["schema"] for p in operation.parameters if p["in"] == "body"] or [None]
    our_body = ours.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    assert _shape(OURS, our_body) == _shape(documented.contract(), body)
    for status, answer in operation.successes.items():
        content = ours["responses"][str(status)].get("content", {})
        schemas = [_shape(OURS, media["schema"]) for media in content.values()] or [None]
        assert schemas[0] == _shape(documented.contract(), answer.get("schema"))


def _their_parameters(operation: Documented) -> dict[tuple[str, str], Node]:
    """X-Request-Id is every operation's, and the middleware's (tests/api/test_routes.py)."""
    return {
        (p["name"], p["in"]): _parameter(documented.contract(), p, p)
        for p in operation.parameters
        if p["in"] != "body" and p["name"] != "X-Request-Id"
    }


def _our_parameters(ours: Node) -> dict[tuple[str, str], Node]:
    return {(p["name"], p["in"]): _parameter(OURS, p, p["schema"]) for p in ours["parameters"]}


def _parameter(document: Node, parameter: Node, schema: Node) -> Node:
    limits = {key: schema.get(key) for key in ("default", "maximum", "minimum")}
    required = bool(parameter.get("required")) or parameter["in"] == "path"
    return {"shape": _shape(document, schema), "required": required, **limits}


def _shape(document: Node, schema: Node | None) -> Any:
    """What both kinds of OpenAPI say of a value, without what only one of them can say."""
    if schema is None:
        return None
    if "allOf" in schema:
        schema = {**documented.resolved(document, schema["allOf"][0]), "nullable": schema["nullable"]}
    schema = documented.resolved(document, schema)
    shape: Node = {key: schema[key] for key in ("type", "format", "enum", "maxLength", "pattern") if key in schema}
    shape["nullable"] = any(schema.get(key) for key in ("nullable", "x-nullable", "x-isnullable"))
    shape["read-only"] = bool(schema.get("readOnly"))
    if "properties" in schema:
        shape["type"] = "object"
        shape["fields"] = {name: _shape(document, node) for name, node in documented.members(schema).items()}
        shape["required"] = sorted(schema.get("required", []))
    elif "items" in schema:
        shape["items"] = _shape(document, schema["items"])
    elif "additionalProperties" in schema:
        of = schema["additionalProperties"]
        shape["values"] = _shape(document, of if isinstance(of, dict) else {})
    elif shape.get("type") == "file":
        shape |= {"type": "string", "format": "binary"}  # OpenAPI 3 has no files
    elif shape.get("type") == "object":
        del shape["type"]  # an object of which nothing is said: anything
    return shape


# -- live answers


def _whole(replay: Replay) -> None:
    if len(replay.done) < len(scenes()):
        pytest.skip("needs the answers of the whole replay: run it before (tests/contract)")


@pytest.mark.slow
@each_operation
def test_answers_are_as_documented(replay: Replay, report: Report, operation: Documented) -> None:
    """Every documented success comes at least once, and holds nothing that is not documented as it is."""
    _whole(replay)
    answers = replay.answers[operation.id]
    statuses = [status for status, _ in answers]
    wanted = set() if operation.id in NO_SUCCESS else set(operation.successes)
    assert wanted <= set(statuses), f"only {sorted(set(statuses))}"
    report(f"{len(answers)} answers, {sum(status < 300 for status in statuses)} of them 2xx")
    found = [
        fault
        for status, body in answers
        if status in operation.successes and operation.id not in documented.OF_ANY_FORM
        for fault in documented.faults(operation.successes[status].get("schema", {}), body, set())
    ]
    assert not found, "\n".join(sorted(set(found)))


@pytest.mark.slow
def test_every_documented_field_is_answered(replay: Replay, report: Report) -> None:
    _whole(replay)
    wanted: set[str] = set()
    seen: set[str] = set()
    for operation in BUILT:
        for status, success in operation.successes.items():
            schema = success.get("schema", {})
            wanted |= set(documented.fields(schema))
            for got, body in replay.answers[operation.id]:
                if got == status:
                    list(documented.faults(schema, body, seen))
    report(f"{len(wanted & seen)} of {len(wanted)} documented fields were answered")
    unexplained = [field for field in sorted(wanted - seen) if not any(fits(name, field) for name in UNSEEN)]
    assert unexplained == []
