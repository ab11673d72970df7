"""Mounting a blob from another repository (distribution-spec "Mounting a blob from another repository"; design 3)."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from tests.content import absent_digest, digest_of, new_bytes
from tests.server import Pair, Repository, Server


@dataclass(frozen=True)
class Scene:
    """A blob in `source`; `target` is to have it, in another project."""

    server: Server
    source: Repository
    target: str
    robot: Pair  # may push to the target and pull from the source
    digest: str
    data: bytes

    def client(self, *scopes: str) -> Repository:
        """With a token for these scopes alone; with the secret itself when there are none."""
        if not scopes:
            return self.server.repository(self.target, self.robot)
        return self.server.repository(self.target, token=self.server.token(self.robot, *scopes))


def system_robot(server: Server, *projects: str) -> Pair:
    """May do everything in all of these."""
    access = [{"resource": "repository", "action": action} for action in ("pull", "push", "delete")]
    body = {
        "name": f"s{new_bytes(4).hex()}",
        "level": "system",
        "duration": -1,
        "permissions": [{"kind": "project", "namespace": p, "access": access} for p in projects],
    }
    answer = server.rest.post("/robots", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["name"], answer.json()["secret"]


@pytest.fixture
def scene(server: Server, repository: Repository, project: str) -> Scene:
    image = repository.push_image("latest")
    other = server.create_project()
    robot = system_robot(server, project, other)
    return Scene(server, repository, f"{other}/app", robot, digest_of(image.layers[0]), image.layers[0])


def mount(target: Repository, digest: str, source: str | None = None) -> httpx.Response:
    params = {"mount": digest} | ({"from": source} if source is not None else {})
    return target.post("blobs/uploads/", params=params)


def assert_mounted(answer: httpx.Response, scene: Scene, target: Repository) -> None:
    assert (answer.status_code, answer.content) == (201, b""), answer.text
    assert answer.headers["Location"] == f"{scene.server.url}/v2/{scene.target}/blobs/{scene.digest}"
    assert answer.headers["Docker-Content-Digest"] == scene.digest
    assert target.get(f"blobs/{scene.digest}").content == scene.data


def assert_plain_upload(answer: httpx.Response, target: Repository, data: bytes) -> dict[str, str]:
    """The session works; its headers without what differs between any two answers."""
    assert (answer.status_code, answer.content) == (202, b""), answer.text
    location = answer.headers["Location"]
    done = target.client.put(location, params={"digest": digest_of(data)}, content=data)
    assert done.status_code == 201, done.text
    headers = {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date")}
    return headers | {"location": location.rpartition("/")[0], "docker-upload-uuid": ""}


def test_what_the_credential_may_pull_is_mounted(scene: Scene) -> None:
    target = scene.client()
    assert_mounted(mount(target, scene.digest, scene.source.name), scene, target)


def test_what_the_token_names_is_mounted(scene: Scene) -> None:
    target = scene.client(f"repository:{scene.target}:pull,push", f"repository:{scene.source.name}:pull")
    assert_mounted(mount(target, scene.digest, scene.source.name), scene, target)


def test_who_brings_no_credentials_is_told_both_scopes(scene: Scene) -> None:
    answer = mount(scene.server.repository(scene.target), scene.digest, scene.source.name)
    assert answer.status_code == 401
    scopes = f"repository:{scene.target}:pull,push repository:{scene.source.name}:pull"
    assert answer.headers["Www-Authenticate"] == (
        f'Bearer realm="{scene.server.url}/service/token",service="harbor-registry",scope="{scopes}"'
    )


def test_what_the_token_does_not_name_becomes_a_plain_upload(scene: Scene) -> None:
    """In the words of a blob that is nowhere: the answer tells nobody whether it is there (design 2.8)."""
    target = scene.client(f"repository:{scene.target}:pull,push")
    refused = assert_plain_upload(mount(target, scene.digest, scene.source.name), target, new_bytes())
    absent = assert_plain_upload(mount(target, absent_digest(), scene.source.name), target, new_bytes())
    nowhere = assert_plain_upload(mount(target, scene.digest, "no-such-project/app"), target, new_bytes())
    assert refused == absent == nowhere
    assert target.head(f"blobs/{scene.digest}").status_code == 404


def test_a_token_reaches_no_other_repository_of_its_project(scene: Scene, robot: Pair) -> None:
    """Good for the repositories that it names, and not for the project around them (design 3, Tokens)."""
    name = f"{scene.source.name}-2"
    scopes = [f"repository:{name}:pull,push", f"repository:{scene.source.name}:pull"]
    narrow, wide = (scene.server.token(robot, *scopes[:n]) for n in (1, 2))
    target = scene.server.repository(name, token=narrow)
    assert_plain_upload(mount(target, scene.digest, scene.source.name), target, new_bytes())
    assert target.head(f"blobs/{scene.digest}").status_code == 404
    assert (
        mount(scene.server.repository(name, token=wide), scene.digest, scene.source.name).status_code == 201
    )


def test_what_the_person_may_not_pull_becomes_a_plain_upload(scene: Scene) -> None:
    stranger = scene.server.create_robot(scene.target.partition("/")[0])
    target = scene.server.repository(scene.target, stranger)
    assert_plain_upload(mount(target, scene.digest, scene.source.name), target, new_bytes())
    assert target.head(f"blobs/{scene.digest}").status_code == 404


def test_without_from_it_is_found_where_the_caller_may_pull(scene: Scene) -> None:
    target = scene.client()
    assert_mounted(mount(target, scene.digest), scene, target)


def test_without_from_nothing_is_found_where_the_token_does_not_reach(scene: Scene) -> None:
    target = scene.client(f"repository:{scene.target}:pull,push")
    assert_plain_upload(mount(target, scene.digest), target, new_bytes())
    assert target.head(f"blobs/{scene.digest}").status_code == 404


def test_without_from_public_content_is_mounted(server: Server, scene: Scene) -> None:
    public = server.create_project(public=True)
    data = server.repository(f"{public}/app", server.create_robot(public)).push_image("latest").layers[0]
    target = scene.client()
    answer = mount(target, digest_of(data))
    assert answer.status_code == 201, answer.text
    assert target.get(f"blobs/{digest_of(data)}").content == data


@pytest.mark.parametrize("source", ["", "..", "UPPER/case", "one", "a//b", "a/b%2fc", "x" * 300])
def test_a_source_that_is_no_repository_becomes_a_plain_upload(scene: Scene, source: str) -> None:
    target = scene.client()
    answer = mount(target, scene.digest, source)
    if source:
        assert_plain_upload(answer, target, new_bytes())
    else:  # as if it had been left out
        assert_mounted(answer, scene, target)


@pytest.mark.parametrize("digest", ["latest", "sha256:0", "md5:" + "0" * 32, ""])
def test_a_mount_of_what_is_no_digest_becomes_a_plain_upload(scene: Scene, digest: str) -> None:
    """distribution-spec: a registry that cannot mount answers 202, as for any other reason."""
    target = scene.client()
    assert_plain_upload(mount(target, digest, scene.source.name), target, new_bytes())


def test_a_blob_is_mounted_within_its_own_repository(scene: Scene) -> None:
    answer = mount(scene.source, scene.digest, scene.source.name)
    assert answer.status_code == 201


def test_only_what_is_readable_in_the_source_is_mounted(scene: Scene, repository: Repository) -> None:
    """The registry holds the blob, but not in the repository that the request names."""
    elsewhere = f"{repository.name}-2"
    answer = mount(scene.client(), scene.digest, elsewhere)
    assert_plain_upload(answer, scene.client(), new_bytes())


def test_what_another_has_only_uploaded_is_not_readable(scene: Scene, server: Server, project: str) -> None:
    """A lease is its principal's: a blob that no manifest holds is nobody else's to read or to mount."""
    digest = scene.source.push_blob(new_bytes())
    colleague = server.repository(scene.source.name, server.create_robot(project))
    assert colleague.head(f"blobs/{digest}").status_code == 404
    assert_plain_upload(mount(colleague, digest, scene.source.name), colleague, new_bytes())
    assert_plain_upload(mount(scene.client(), digest, scene.source.name), scene.client(), new_bytes())
    assert scene.source.head(f"blobs/{digest}").status_code == 200


def test_a_mounted_blob_counts_for_the_manifest_that_follows(scene: Scene) -> None:
    target = scene.client()
    document = scene.source.get("manifests/latest")
    for part in [document.json()["config"], *document.json()["layers"]]:
        assert mount(target, part["digest"], scene.source.name).status_code == 201
    target.push_manifest(document.content, "latest")
    assert target.get("manifests/latest").content == document.content
