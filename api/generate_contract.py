"""Writes contract.json.gz from Harbor's OpenAPI file (Apache-2.0, see docs/licences.md).

    python -m api.generate_contract path/to/harbor-v2.0.yaml

Run by hand when the contract changes; the product reads only the generated file. What is kept: of each operation its
parameters, body and answer; of each definition what a reader or writer of JSON must know. Descriptions are dropped.
"""

from __future__ import annotations

import gzip
import json
import pathlib
import sys
from typing import Any

import yaml

TARGET = pathlib.Path(__file__).with_name("contract.json.gz")
_FLAGS = {
    "enum": "enum",
    "maxLength": "max_length",
    "pattern": "pattern",
    "readOnly": "read_only",
    "x-nullable": "nullable",
    "x-isnullable": "nullable",
}
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")


def generate(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "operations": [
            _operation(document, method, path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if method in _METHODS
        ],
        # As text: a definition is parsed when an operation needs it.
        "definitions": {
            name: json.dumps(_schema(schema), separators=(",", ":"))
            for name, schema in document["definitions"].items()
        },
    }


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    parameters = [_resolve(document, p) for p in operation.get("parameters", [])]
    # Every operation has X-Request-Id; the middleware knows it.
    parameters = [p for p in parameters if p["name"] != "X-Request-Id"]
    success = min(status for status in operation["responses"] if status.startswith("2"))
    answer = _resolve(document, operation["responses"][success]).get("schema")
    kept: dict[str, Any] = {
        "id": operation["operationId"],
        "tag": operation["tags"][0],
        "method": method.upper(),
        "path": path,
        "status": int(success),
        "parameters": [_parameter(p) for p in parameters],
    }
    if answer:
        kept["answer"] = _schema(answer)
    if "produces" in operation:
        kept["produces"] = operation["produces"]
    return kept


def _resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    _, kind, name = node["$ref"].split("/")
    resolved: dict[str, Any] = document[kind][name]
    return resolved


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"name": parameter["name"], "in": parameter["in"]}
    if parameter.get("required"):
        kept["required"] = True
    for key in ("default", "maximum", "minimum"):
        if key in parameter:
            kept[key] = parameter[key]
    kept["schema"] = _schema(parameter.get("schema", parameter))
    return kept


def _schema(node: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"kind": _kind(node)}
    if "$ref" in node:
        kept["ref"] = node["$ref"].rsplit("/", 1)[-1]
    if kept["kind"] == "array":
        kept["items"] = _schema(node["items"])
    if kept["kind"] == "map":
        of = node["additionalProperties"]
        kept["items"] = _schema(of if isinstance(of, dict) else {})
    if kept["kind"] == "object" and "properties" in node:
        required = node.get("required", [])
        kept["properties"] = {
            _spelling(name): _schema(child) | ({"required": True} if name in required else {})
            for name, child in node["properties"].items()
        }
    kept |= {ours: node[theirs] for theirs, ours in _FLAGS.items() if node.get(theirs)}
    if node.get("format") not in (None, "date-time"):
        kept["format"] = node["format"]
    if "x-omitempty" in node:
        kept["omit_empty"] = node["x-omitempty"]
    return kept


def _spelling(name: str) -> str:
    """Harbor's generator makes no JSON name of a quoted one: `'os.version'` goes out as OsVersion."""
    return "".join(word.capitalize() for word in name.strip("'").split(".")) if "'" in name else name


def _kind(node: dict[str, Any]) -> str:
    """What the value is in JSON; `any` where the contract leaves it open, `time` for RFC 3339 text."""
    if "$ref" in node:
        return "ref"
    if node.get("format") == "date-time":
        return "time"
    kind: str = node.get("type", "any")
    if kind == "object" and "properties" not in node:
        return "map" if "additionalProperties" in node else "any"
    return kind


def main() -> None:
    document = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    text = json.dumps(generate(document), separators=(",", ":")).encode()
    TARGET.write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    main()
