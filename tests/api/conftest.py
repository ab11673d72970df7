"""Fixtures of the REST tests: the real URLs over Django's client, real PostgreSQL, and content that was pushed."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from hypothesis import settings as hypothesis_settings

from projects.models import Project
from rbac import actions as rbac_actions
from rbac.authn import local, lockout
from rbac.models import User
from registry_core import actions
from registry_core.hooks import Grant, Principal
from registry_core.manifests import parse_manifest
from registry_core.models import Artifact, Blob, RepositoryBlob, Tag
from registry_core.references import RepositoryName
from registry_core.storage.paths import new_key
from registry_core.store import driver
from tests.builders import Person, alice, bob, charlie, library

__all__ = ["alice", "bob", "charlie", "library"]

ADMIN_PASSWORD = "Adm1n-of-tests"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"

hypothesis_settings.register_profile("suite", deadline=None, database=None)
hypothesis_settings.load_profile("suite")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content) if self.content else None

    @property
    def code(self) -> str:
        """Of the one error in the body."""
        (error,) = self.body["errors"]
        return str(error["code"])

    @property
    def message(self) -> str:
        (error,) = self.body["errors"]
        return str(error["message"])

    @property
    def id(self) -> int:
        return int(self.headers["Location"].rsplit("/", 1)[1])


@dataclass(frozen=True)
class Api:
    """A caller of /api/v2.0; paths are as they go over the wire. `body` is JSON, `raw` is sent as it is."""

    authorization: str = ""

    def request(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, prefix: str = "/api/v2.0",
        content_type: str = "application/json", headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        sent = dict(headers or {})
        if self.authorization:
            sent["Authorization"] = self.authorization
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        uri, _, query = (prefix + path).partition("?")
        response = Client(raise_request_exception=False).generic(
            method, uri, data, content_type, headers=sent, QUERY_STRING=query, REQUEST_URI=uri
        )
        return Reply(response.status_code, response.headers, response.content)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.request("GET", path, headers=headers)

    def head(self, path: str) -> Reply:
        return self.request("HEAD", path)

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        return self.request("POST", path, body, headers=headers)

    def put(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        return self.request("PUT", path, body, headers=headers)

    def patch(self, path: str, body: Any = None) -> Reply:
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> Reply:
        return self.request("DELETE", path)


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 as cheap as it gets (its cost is the business of tests/rbac), and nobody locked out by an earlier test."""
    monkeypatch.setattr(local._hasher, "time_cost", 1)
    monkeypatch.setattr(local._hasher, "memory_cost", 8)
    lockout._table()[:] = bytes(len(lockout._table()))


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """What `manage.py migrate` leaves on a new registry, where the test has a database."""
    if "db" in request.fixturenames or request.node.get_closest_marker("django_db"):
        request.getfixturevalue("db")
        rbac_actions.ensure_seed(ADMIN_PASSWORD)


@pytest.fixture
def as_() -> Callable[[Person], Api]:
    return lambda person: Api(person.basic)


@pytest.fixture
def anonymous(db: None) -> Api:
    return Api()


@pytest.fixture
def admin(db: None) -> Api:
    User.objects.filter(pk=1).update(password=local.hash_secret(ADMIN_PASSWORD))
    return Api(Person("admin", ADMIN_PASSWORD).basic)


# -- content


def push_blob(repository_id: int, data: bytes, principal: str = "u:1") -> dict[str, Any]:
    """A blob that the principal may put into a manifest of this repository."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blob = Blob.objects.filter(digest=digest).first()
    if blob is None:
        key = new_key()
        writer = driver().open_writer(key)
        writer.write(data)
        writer.finish()
        blob = Blob.objects.create(digest=digest, size=len(data), key=key)
    RepositoryBlob.objects.update_or_create(
        repository_id=repository_id, blob=blob, principal=principal,
        defaults={"leased_until": "9999-01-01T00:00:00Z"},
    )  # fmt: skip
    return {"digest": digest, "size": len(data)}


def push(project: Project, path: str, document: dict[str, Any], *tags: str) -> Artifact:
    name = RepositoryName(project.name, path)
    grant = Grant(Principal("admin", "user", "u:1", is_admin=True), project.namespace_id)
    manifest = parse_manifest(json.dumps(document, sort_keys=True).encode(), document["mediaType"])
    pushed = actions.put_manifest(grant, name, manifest, tags)
    return Artifact.objects.get(
        repository__namespace=project.namespace, repository__path=path, digest=pushed.digest
    )


def push_image(project: Project, path: str, *tags: str, seed: str = "", **more: Any) -> Artifact:
    """An image of two small blobs that only this seed has; without a seed, one that nobody pushed before."""
    seed = seed or uuid.uuid4().hex
    repository = actions.ensure_repository(project.namespace_id, path)
    config = {
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z", "author": "tests",
        "config": {"Env": ["PATH=/bin"], "Labels": {"seed": seed}}, "rootfs": {"type": "layers", "diff_ids": []},
    }  # fmt: skip
    blob = push_blob(repository.pk, json.dumps(config).encode())
    layer = push_blob(repository.pk, f"layer {seed}".encode())
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **blob},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}], **more,
    }  # fmt: skip
    return push(project, path, document, *tags)


def push_index(project: Project, path: str, tag: str, *children: Artifact) -> Artifact:
    return push(
        project, path,
        {
            "schemaVersion": 2, "mediaType": INDEX,
            "manifests": [
                {
                    "mediaType": MANIFEST, "digest": child.digest, "size": len(child.payload),
                    "platform": {"architecture": "amd64", "os": "linux"},
                }
                for child in children
            ],
        },
        tag,
    )  # fmt: skip


def descriptor(artifact: Artifact) -> dict[str, Any]:
    return {"mediaType": artifact.media_type, "digest": artifact.digest, "size": len(artifact.payload)}


def tag_names(artifact: Artifact) -> set[str]:
    return set(Tag.objects.filter(artifact=artifact).values_list("name", flat=True))
