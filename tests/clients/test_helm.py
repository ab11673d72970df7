"""Helm: charts as OCI artifacts; the program that people type, and the SDK of Helm 4."""

from __future__ import annotations

import json
import pathlib

import helm_python
import pytest

from tests.clients.conftest import Project
from tests.clients.images import ACCEPT, digest_of
from tests.clients.programs import Client
from tests.components.breakwater import Credentials
from tests.components.go_tools import require_go_tool

pytestmark = pytest.mark.slow

CHART = "apiVersion: v2\nname: demo\nversion: {version}\nappVersion: '1'\ndescription: a chart for tests\n"
TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  colour: {{ .Values.colour }}
"""


@pytest.fixture
def helm(home: pathlib.Path) -> Client:
    return Client(require_go_tool("helm"), home)


def log_in(helm: Client, project: Project, who: Credentials) -> None:
    host = project.registry.host
    helm.run(
        "registry", "login", "--plain-http", "-u", who.username, "--password-stdin", host, stdin=who.secret
    )


def package(helm: Client, version: str) -> str:
    """A packaged chart; returns the file's name in the client's home."""
    chart = helm.home / "demo"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text(CHART.format(version=version))
    (chart / "values.yaml").write_text("colour: blue\n")
    (chart / "templates/map.yaml").write_text(TEMPLATE)
    helm.run("package", "demo")
    return f"demo-{version}.tgz"


def place(project: Project) -> str:
    return f"oci://{project.registry.host}/{project.name}"


def test_a_chart_comes_back_byte_for_byte(helm: Client, project: Project) -> None:
    log_in(helm, project, project.robot)
    file = package(helm, "1.2.3")
    helm.run("push", "--plain-http", file, place(project))
    content = (helm.home / file).read_bytes()
    with project.registry.v2(project.puller) as v2:
        answer = v2.get(f"/{project.name}/demo/manifests/1.2.3", headers=ACCEPT).raise_for_status()
        manifest = json.loads(answer.content)
        # Helm's manifest does not say what it is; the registry must still know.
        assert answer.headers["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"
        assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
        assert manifest["layers"][0]["digest"] == digest_of(content)
    log_in(helm, project, project.puller)
    (helm.home / "back").mkdir()
    helm.run("pull", "--plain-http", "--destination", "back", "--version", "1.2.3", f"{place(project)}/demo")
    assert (helm.home / "back" / file).read_bytes() == content


def test_the_newest_version_is_found_by_its_tags(helm: Client, project: Project) -> None:
    log_in(helm, project, project.robot)
    for version in ("1.2.3", "1.10.0", "0.9.0"):
        helm.run("push", "--plain-http", package(helm, version), place(project))
    shown = helm.run("show", "chart", "--plain-http", f"{place(project)}/demo")
    assert "version: 1.10.0" in shown
    shown = helm.run("show", "chart", "--plain-http", "--version", "^1.2.0 <1.5", f"{place(project)}/demo")
    assert "version: 1.2.3" in shown
    rendered = helm.run("template", "mine", "--plain-http", f"{place(project)}/demo", "--set", "colour=red")
    assert "colour: red" in rendered


def test_strangers_are_refused(helm: Client, project: Project, stranger: Credentials) -> None:
    file = package(helm, "1.0.0")
    helm.run_refused("push", "--plain-http", file, place(project))
    log_in(helm, project, project.robot)
    helm.run("push", "--plain-http", file, place(project))
    log_in(helm, project, project.puller)
    helm.run_refused("push", "--plain-http", file, place(project))
    log_in(helm, project, stranger)
    helm.run_refused("push", "--plain-http", file, place(project))
    helm.run_refused("pull", "--plain-http", "--version", "1.0.0", f"{place(project)}/demo")
    host = project.registry.host
    helm.run_refused(
        "registry", "login", "--plain-http", "-u", stranger.username, "--password-stdin", host, stdin="Wrong1"
    )


def test_the_sdk_of_helm_4_pushes_lists_and_pulls(helm: Client, project: Project) -> None:
    host, home = project.registry.host, helm.home
    with helm_python.RegistryClient(plain_http=True, credentials_file=home / "logins.json") as client:
        client.login(host, project.robot.username, project.robot.secret, plain_http=True)
        for version in ("1.0.0", "2.0.0"):
            client.push(home / package(helm, version), place(project), plain_http=True)
        assert client.tags(f"{host}/{project.name}/demo") == ["2.0.0", "1.0.0"]
        (home / "back").mkdir()
        client.pull(f"{place(project)}/demo", version="1.0.0", destination=home / "back", plain_http=True)
    with (
        helm_python.RegistryClient(plain_http=True, credentials_file=home / "none.json") as nobody,
        pytest.raises(helm_python.HelmError, match=r"401|403|denied|unauthorized|not found"),
    ):
        nobody.pull(f"{place(project)}/demo", version="1.0.0", destination=home, plain_http=True)
    assert (home / "back/demo-1.0.0.tgz").read_bytes() == (home / "demo-1.0.0.tgz").read_bytes()
