"""The registry over servers that somebody else runs: bytes in S3 (by redirect and by proxy), PostgreSQL, Redis."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.clients.conftest import Project, make_project
from tests.clients.images import Image, digest_of, root_files, tar
from tests.clients.programs import Client
from tests.components import process
from tests.components.availability import require_program
from tests.components.breakwater import Breakwater
from tests.components.docker_engine import DockerEngine
from tests.components.postgres import Postgres
from tests.components.seaweedfs import BUCKET, SeaweedFS
from tests.components.valkey import Valkey

SECRET_KEY = "a-key-that-every-process-of-this-registry-shares"


@pytest.fixture(scope="module", params=["redirect", "proxy"])
def redirect(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "redirect")


@pytest.fixture(scope="module")
def prefix(redirect: bool) -> str:
    """Where in the bucket, and in which database, this registry keeps what it has."""
    return f"{'redirect' if redirect else 'proxy'}{process.worker()}"


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    server = Valkey(process.own_directory("redis"), process.free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def registry(
    redirect: bool, prefix: str, seaweedfs: SeaweedFS, postgres: Postgres, redis: Valkey
) -> Iterator[Breakwater]:
    """Nothing is embedded; the database is empty, so `up` brings it to the newest version."""
    server = Breakwater(
        BREAKWATER_STORAGE=seaweedfs.url(prefix, redirect=redirect),
        BREAKWATER_SECRET_KEY=SECRET_KEY,
        DATABASE_URL=postgres.create_database(f"s3_{prefix}"),
        REDIS_URL=redis.url(int(redirect)),
        **seaweedfs.credentials,
    )
    try:
        server.start()
        yield server
        assert server.failures() == []
    finally:
        server.remove()


@pytest.fixture
def project(registry: Breakwater) -> Project:
    return make_project(registry)


@pytest.fixture
def skopeo(home: pathlib.Path) -> Client:
    return Client(require_program("skopeo", package="skopeo"), home)


def push(skopeo: Client, image: Image, project: Project) -> None:
    skopeo.run(
        "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", project.robot.joined,
        f"oci:{image.layout}:latest", f"docker://{project.reference('app', 'v1')}",
    )  # fmt: skip


def stored(seaweedfs: SeaweedFS, prefix: str) -> int:
    listed = seaweedfs.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/objects/")
    return int(listed["KeyCount"])


def test_an_image_comes_back_byte_for_byte(skopeo: Client, project: Project, image: Image) -> None:
    push(skopeo, image, project)
    project.assert_holds("app", "v1", image)
    back = skopeo.home / "back"
    source = f"docker://{project.reference('app', 'v1')}"
    options = ("--insecure-policy", "copy", "--src-tls-verify=false", "--src-creds", project.puller.joined)
    skopeo.run(*options, source, f"oci:{back}:latest")
    pulled = Image(back, image.digest, image.blobs)
    assert [pulled.read(blob) for blob in image.blobs] == [image.read(blob) for blob in image.blobs]


def test_a_blob_is_redirected_to_the_store_or_passed_on(
    skopeo: Client, project: Project, image: Image, seaweedfs: SeaweedFS, redirect: bool
) -> None:
    push(skopeo, image, project)
    layer = image.blobs[-1]
    url = f"{project.registry.url}/v2/{project.name}/app/blobs/{layer}"
    answer = httpx.get(url, auth=project.puller.pair, follow_redirects=False, timeout=30)
    if redirect:
        assert answer.status_code == 307
        assert answer.headers["Location"].startswith(f"{seaweedfs.endpoint}/{BUCKET}/")
        # Whoever has the URL has the bytes, without credentials of the registry, for some minutes.
        assert httpx.get(answer.headers["Location"], timeout=30).content == image.read(layer)
    else:
        assert answer.status_code == 200
        assert answer.content == image.read(layer)
        part = httpx.get(url, auth=project.puller.pair, headers={"Range": "bytes=10-19"}, timeout=30)
        assert (part.status_code, part.content) == (206, image.read(layer)[10:20])


def test_a_large_layer_goes_up_in_parts(project: Project) -> None:
    """Above the part size, sent in odd pieces: a multipart upload with a tail."""
    content = bytes(range(256)) * (30 << 12)  # 30 MiB
    pieces = [content[i : i + (7 << 20) + 1] for i in range(0, len(content), (7 << 20) + 1)]
    digest = digest_of(content)
    with project.registry.v2(project.robot) as v2:
        location = v2.post(f"/{project.name}/big/blobs/uploads/").headers["Location"]
        offset = 0
        for piece in pieces:
            span = f"{offset}-{offset + len(piece) - 1}"
            answer = v2.patch(location, content=piece, headers={"Content-Range": span})
            assert answer.status_code == 202, answer.text
            offset += len(piece)
            assert answer.headers["Range"] == f"0-{offset - 1}"
            location = answer.headers["Location"]
        finished = v2.put(location, params={"digest": digest})
        assert finished.status_code == 201, finished.text
        assert v2.get(f"/{project.name}/big/blobs/{digest}").content == content


def test_bytes_leave_the_store_when_the_image_is_deleted(
    skopeo: Client, image: Image, project: Project, seaweedfs: SeaweedFS, prefix: str
) -> None:
    push(skopeo, image, project)
    new = image.blobs[-1]
    with project.registry.v2(project.robot) as v2:
        assert v2.head(f"/{project.name}/app/blobs/{new}").status_code == 200
        before = stored(seaweedfs, prefix)
        assert v2.delete(f"/{project.name}/app/manifests/{image.digest}").status_code == 202
    deadline = time.monotonic() + 30
    while stored(seaweedfs, prefix) >= before:
        assert time.monotonic() < deadline, "the collector has freed nothing"
        time.sleep(0.5)


def test_the_ledger_is_whole(project: Project) -> None:
    scrub = project.registry.manage("scrub", "--verify", "100")
    assert scrub.returncode == 0, scrub.stdout + scrub.stderr


@pytest.mark.slow
def test_docker_pushes_and_pulls(docker_engine: DockerEngine, project: Project, home: pathlib.Path) -> None:
    program = require_program("docker", package="docker.io")
    docker = Client(program, home, {"DOCKER_HOST": docker_engine.address})
    robot, reference = project.robot, project.reference("imported", "v1")
    archive = docker.home / "root.tar"
    archive.write_bytes(tar(root_files()))
    built = docker.run("import", str(archive), reference).strip()
    docker.run("login", "-u", robot.username, "--password-stdin", project.registry.host, stdin=robot.secret)
    docker.run("push", reference)
    docker.run("rmi", reference)
    docker.run("pull", reference)
    assert docker.run("image", "inspect", "--format", "{{.Id}}", reference).strip() == built
    docker.run("rmi", reference)
