"""Nobody in particular, over every verb, on public, private and absent projects (contract 3.1, 3.3)."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass

import httpx
import pytest

from tests.content import MANIFEST, absent_digest, digest_of
from tests.server import Image, Pair, Server

VERBS = {
    "GET manifests/latest": "pull",
    "HEAD manifests/latest": "pull",
    "GET manifests/{digest}": "pull",
    "HEAD manifests/{digest}": "pull",
    "GET blobs/{blob}": "pull",
    "HEAD blobs/{blob}": "pull",
    "GET tags/list": "pull",
    "GET referrers/{digest}": "pull",
    "POST blobs/uploads/": "pull,push",
    "POST blobs/uploads/?digest={blob}": "pull,push",
    "GET blobs/uploads/{upload}": "pull,push",
    "PATCH blobs/uploads/{upload}": "pull,push",
    "PUT blobs/uploads/{upload}?digest={blob}": "pull,push",
    "DELETE blobs/uploads/{upload}": "pull,push",
    "PUT manifests/latest": "pull,push",
    "PUT manifests/{digest}": "pull,push",
    "DELETE manifests/latest": "delete",
    "DELETE manifests/{digest}": "delete",
    "DELETE blobs/{blob}": "delete",
}
WORDS = {"pull": "pull", "pull,push": "push", "delete": "delete"}


@dataclass(frozen=True)
class Place:
    name: str
    robot: Pair | None
    image: Image
    upload: str

    def ask(self, client: httpx.Client, verb: str) -> httpx.Response:
        method, path = verb.split(" ")
        path = path.format(digest=self.image.digest, blob=digest_of(self.image.layers[0]), upload=self.upload)
        headers = {"Content-Type": MANIFEST} if method == "PUT" else {}
        return client.request(method, f"/{self.name}/{path}", headers=headers, content=self.image.payload)


def make_place(server: Server, *, public: bool) -> Place:
    project = server.create_project(public=public)
    robot = server.create_robot(project)
    repository = server.repository(f"{project}/app", robot)
    image = repository.push_image("latest")
    return Place(repository.name, robot, image, repository.start_upload().rpartition("/")[2])


@pytest.fixture(scope="module")
def places(server: Server) -> dict[str, Place]:
    private = make_place(server, public=False)
    absent = Place(f"no-{private.name}", None, private.image, str(uuid.uuid4()))
    return {"public": make_place(server, public=True), "private": private, "absent": absent}


@pytest.mark.parametrize("place", ["public", "private", "absent"])
@pytest.mark.parametrize("verb", VERBS)
def test_without_credentials_every_verb_is_challenged(
    server: Server, places: dict[str, Place], place: str, verb: str
) -> None:
    """The same words wherever it asks, so that they tell nobody what exists."""
    name, scope = places[place].name, VERBS[verb]
    answer = places[place].ask(server.client(), verb)
    assert answer.status_code == 401
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer.headers["Www-Authenticate"] == (
        f'Bearer realm="{server.url}/service/token",service="harbor-registry",scope="repository:{name}:{scope}"'
    )
    if verb.startswith("HEAD"):
        assert answer.content == b""
        return
    (error,) = answer.json()["errors"]
    text = f"unauthorized to access repository: {name}, action: {WORDS[scope]}"
    if verb.startswith("GET"):
        text = "authorize header needed to send HEAD to repository"
    assert (error["code"], error["message"]) == ("UNAUTHORIZED", f"{text}: {text}")
    assert error["detail"]["principal"] == "anonymous"
    assert {"rule", "fix", "who"} <= set(error["detail"])


@pytest.mark.parametrize("verb", VERBS)
def test_an_anonymous_token_pulls_what_is_public_and_does_nothing_else(
    server: Server, places: dict[str, Place], verb: str
) -> None:
    for kind, place in places.items():
        token = server.token(None, f"repository:{place.name}:pull,push,delete")
        answer = place.ask(server.client(token=token), verb)
        if kind == "public" and VERBS[verb] == "pull":
            assert answer.status_code == 200
            continue
        assert answer.status_code == 401, (kind, answer.text)
        assert answer.headers["Www-Authenticate"] == 'Basic realm="harbor"'
        if not verb.startswith("HEAD"):
            assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("verb", VERBS)
def test_a_stranger_cannot_tell_a_private_project_from_an_absent_one(
    server: Server, places: dict[str, Place], stranger: Pair, verb: str
) -> None:
    client = server.client(stranger)
    private, absent = (places[kind].ask(client, verb) for kind in ("private", "absent"))
    assert private.status_code == absent.status_code == 401
    assert private.headers["Www-Authenticate"] == absent.headers["Www-Authenticate"]
    here, there = places["private"].name, places["absent"].name
    projects = here.partition("/")[0], there.partition("/")[0]
    told = private.text.replace(here, "#").replace(projects[0], "#")
    assert told == absent.text.replace(there, "#").replace(projects[1], "#")


def test_nothing_was_changed(server: Server, places: dict[str, Place]) -> None:
    for place in (places["public"], places["private"]):
        server.repository(place.name, place.robot).assert_holds(place.image, "latest")
        status = server.client(place.robot).get(f"/{place.name}/blobs/uploads/{place.upload}")
        assert (status.status_code, status.headers["Range"]) == (204, "0-0")


@pytest.mark.parametrize(
    "target", ["manifests/latest", f"blobs/uploads/?digest={absent_digest()}"], ids=["manifest", "blob"]
)
def test_it_refuses_before_a_byte_of_the_body_was_sent(
    server: Server, places: dict[str, Place], stranger: Pair, target: str
) -> None:
    """Nobody can make the registry take a gigabyte that it will not keep (design 8.4)."""
    method = "PUT" if target.startswith("manifests") else "POST"
    path = f"/v2/{places['private'].name}/{target}"
    with server.unfinished(method, path, stranger, b"", Content_Length=str(1 << 30)) as connection:
        assert receive(connection).startswith(b"HTTP/1.1 401")


def receive(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    return connection.recv(65536)


@pytest.mark.parametrize("credentials", ["absent", "wrong"])
def test_the_version_check_is_where_clients_begin(server: Server, credentials: str) -> None:
    answer = server.client(("nobody", "wrong") if credentials == "wrong" else None).get("/")
    assert answer.status_code == 401
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    bearer = f'Bearer realm="{server.url}/service/token",service="harbor-registry"'
    assert answer.headers["Www-Authenticate"] == (
        'Basic realm="harbor"' if credentials == "wrong" else bearer
    )
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


def test_whoever_is_known_passes_the_version_check(server: Server, robot: Pair) -> None:
    answer = server.client(robot).get("/")
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
