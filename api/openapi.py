"""What is built of the contract, as an OpenAPI 3.0 document: for clients that are generated, and for tests.

Made from the same data that requests are validated by and answers are written with (contract.py), so it cannot say
anything else than what the code does. Served nowhere: Harbor serves none below /api/v2.0 either.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from api import contract
from api.contract import Operation, Parameter, Schema

_PLACE = "#/components/schemas/"


def document(built: Collection[str]) -> dict[str, Any]:
    """Of the operations with these ids."""
    operations = [operation for operation in contract.operations() if operation.id in built]
    definitions: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, definitions)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Breakwater", "version": "2.0"},
        "servers": [{"url": contract.PREFIX}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions.items())),
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{"basic": []}, {}],
    }


def _operation(operation: Operation, definitions: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Success"}
    if operation.answer is not None:
        content = {"schema": _schema(operation.answer, definitions)}
        answer["content"] = dict.fromkeys(operation.produces, content)
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "parameters": [_parameter(p, definitions) for p in operation.parameters if p.place != "body"],
        "responses": {
            str(operation.status): answer,
            "default": {"description": "errors, each with code and message"},
        },
    }
    if (body := operation.body) is not None:
        content = {"application/json": {"schema": _schema(body.schema, definitions)}}
        described["requestBody"] = {"content": content, "required": body.required}
    return described


def _parameter(parameter: Parameter, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _schema(parameter.schema, definitions)
    for name in ("default", "maximum", "minimum"):
        if (value := getattr(parameter, name)) is not None:
            schema[name] = value
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required or parameter.place == "path",
        "schema": schema,
    }


def _schema(schema: Schema, definitions: dict[str, Any]) -> dict[str, Any]:
    if not schema.name:
        return _inline(schema, definitions)
    if schema.name not in definitions:
        definitions[schema.name] = {}  # before its members, which may lead back here
        definitions[schema.name] = _inline(contract.definition(schema.name), definitions)
    reference = {"$ref": _PLACE + schema.name}
    return {"allOf": [reference], "nullable": True} if schema.nullable else reference


def _inline(schema: Schema, definitions: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    match schema.kind:
        case "any":
            pass
        case "time":
            described |= {"type": "string", "format": "date-time"}
        case "file":  # OpenAPI 2 only
            described |= {"type": "string", "format": "binary"}
        case "array":
            assert schema.items is not None
            described |= {"type": "array", "items": _schema(schema.items, definitions)}
        case "map":
            assert schema.items is not None
            described |= {"type": "object", "additionalProperties": _schema(schema.items, definitions)}
        case "object":
            described |= _object(schema, definitions)
        case kind:
            described["type"] = kind
    return described | _limits(schema)


def _object(schema: Schema, definitions: dict[str, Any]) -> dict[str, Any]:
    members = {name: _schema(member, definitions) for name, member in schema.members.items()}
    described: dict[str, Any] = {"type": "object", "properties": members}
    if required := [name for name, member in schema.members.items() if member.required]:
        described["required"] = required
    return described


def _limits(schema: Schema) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if schema.format:
        limits["format"] = schema.format
    if schema.enum:
        limits["enum"] = list(schema.enum)
    if schema.max_length is not None:
        limits["maxLength"] = schema.max_length
    if schema.pattern:
        limits["pattern"] = schema.pattern
    if schema.read_only:
        limits["readOnly"] = True
    if schema.nullable:
        limits["nullable"] = True
    return limits
