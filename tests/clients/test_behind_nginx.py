"""The registry behind nginx: clients see one address, and nginx itself sends the files of blobs."""

from __future__ import annotations

import http.client
import json
import pathlib
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.clients.conftest import Project, make_project
from tests.clients.images import Image
from tests.clients.programs import Client
from tests.components import process
from tests.components.availability import require_program
from tests.components.breakwater import Breakwater
from tests.components.nginx import Nginx


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    server = Nginx(process.own_directory("nginx"), process.free_port())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def registry(nginx: Nginx) -> Iterator[Breakwater]:
    """Its host is nginx: what clients are told, and what the tests use."""
    server = Breakwater(
        BREAKWATER_EXTERNAL_URL=f"http://{nginx.host}", BREAKWATER_TRUSTED_PROXIES="127.0.0.1/32"
    )
    try:
        server.start()
        nginx.start(server.host, server.home / "storage")
        server.host, server.url = nginx.host, f"http://{nginx.host}"
        yield server
        assert server.failures() == []
    finally:
        server.remove()


@pytest.fixture
def project(registry: Breakwater) -> Project:
    return make_project(registry)


@pytest.fixture
def pushed(project: Project, image: Image, home: pathlib.Path) -> Image:
    """Pushed through nginx, with the token of the realm that nginx's address has."""
    skopeo = Client(require_program("skopeo", package="skopeo"), home)
    skopeo.run(
        "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", project.robot.joined,
        f"oci:{image.layout}:latest", f"docker://{project.reference('app', 'v1')}",
    )  # fmt: skip
    return image


def test_an_image_comes_back_byte_for_byte(project: Project, pushed: Image) -> None:
    project.assert_holds("app", "v1", pushed)


def test_the_realm_is_the_address_that_clients_see(registry: Breakwater) -> None:
    challenge = httpx.get(f"{registry.url}/v2/").headers["Www-Authenticate"]
    assert f'realm="{registry.url}/service/token"' in challenge


def test_nginx_sends_the_file_with_the_headers_of_the_registry(
    project: Project, pushed: Image, nginx: Nginx
) -> None:
    layer = pushed.blobs[-1]
    with project.registry.v2(project.puller) as v2:
        whole = v2.get(f"/{project.name}/app/blobs/{layer}")
        part = v2.get(f"/{project.name}/app/blobs/{layer}", headers={"Range": "bytes=100-199"})
    assert whole.content == pushed.read(layer)
    assert whole.headers["Docker-Content-Digest"] == layer
    assert whole.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert (part.status_code, part.content) == (206, pushed.read(layer)[100:200])
    deadline = time.monotonic() + 5  # nginx writes the line after the answer
    while not [line for line in nginx.sent() if line.startswith("GET") and "file=/stored/objects/" in line]:
        assert time.monotonic() < deadline, nginx.sent()
        time.sleep(0.05)


def test_nobody_reaches_the_files_past_the_registry(registry: Breakwater, pushed: Image) -> None:
    files = [f for f in (registry.home / "storage/objects").rglob("*") if f.is_file()]
    assert files
    key = files[0].relative_to(registry.home / "storage")
    assert httpx.get(f"{registry.url}/stored/{key}").status_code == 404


@pytest.mark.parametrize(
    "target",
    ["/v2/{p}%2fapp/manifests/v1", "/v2/{p}//app/manifests/v1", "/v2/{p}/./app/manifests/v1",
     "/v2/{p}/x/../app/manifests/v1", "/v2/{p}/%2e%2e/{p}/app/manifests/v1", "/v2/{p}/app;x/manifests/v1",
     "/v2/{p}/App/manifests/v1", "/v2/{p}/a%252fb/manifests/v1"],
)  # fmt: skip
def test_an_odd_path_reaches_the_registry_as_it_was_written(project: Project, nginx: Nginx, target: str) -> None:
    """nginx tidies what it compares with its locations, not what it hands on: the refusal is the registry's."""
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)
    connection.putrequest("GET", target.format(p=project.name), skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    assert (answer.status, body["errors"][0]["code"]) == (400, "NAME_INVALID")
