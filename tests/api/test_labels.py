"""Tag label, and the labels of artifacts (contract 6.8).

Golden: label_global, label_project, artifact_labels, bodies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import ArtifactLabel, Label, Project
from rbac.models import Member
from tests.api.conftest import Api, Reply, push_image
from tests.builders import Person, make_member, make_person, make_project

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]


def make(caller: Api, name: str = "hot", scope: str = "g", **more: Any) -> Reply:
    return caller.post("/labels", {"name": name, "scope": scope} | more)


def test_create_and_read_back(admin: Api, library: Project) -> None:
    reply = make(admin, color="#0065AB", description="text", project_id=5)
    assert (reply.status, reply.headers["Location"]) == (201, f"/api/v2.0/labels/{reply.id}")
    shown = admin.get(f"/labels/{reply.id}").body
    assert {key: value for key, value in shown.items() if not key.endswith("_time")} == {
        "id": reply.id, "name": "hot", "scope": "g", "color": "#0065AB", "description": "text",
    }  # fmt: skip
    own = make(admin, scope="p", project_id=library.pk)
    assert admin.get(f"/labels/{own.id}").body["project_id"] == library.pk


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"name": "x"}, 400, "unsupported label scope"),
        ({"name": "x", "scope": "x"}, 400, "unsupported label scope"),
        ({"name": "x" * 129, "scope": "g"}, 400, "max length is 128"),  # Harbor: 500
        ({"name": "hot", "scope": "g"}, 409, "label hot already exists"),
    ],
)
def test_create_refuses(admin: Api, body: dict[str, Any], status: int, message: str) -> None:
    make(admin)
    reply = admin.post("/labels", body)
    assert (reply.status, reply.message) == (status, message)


def test_names_are_taken_once_in_their_scope(admin: Api, library: Project) -> None:
    make(admin)
    assert make(admin, scope="p", project_id=library.pk).status == 201
    assert make(admin, scope="p", project_id=make_project("other").pk).status == 201
    assert make(admin, scope="p", project_id=library.pk).status == 409
    assert (
        make(admin, scope="p", project_id=99999999).status == 201
    )  # as in Harbor, for system administrators
    assert make(admin, "").status == 201  # not checked here


def test_list(admin: Api, anonymous: Api, library: Project) -> None:
    for name in ("b-two", "b-one", "a"):
        make(admin, name)
    make(admin, "own", "p", project_id=library.pk)

    def names(query: str) -> str:
        return " ".join(label["name"] for label in anonymous.get(f"/labels?{query}").body)

    assert names("scope=g") == "a b-one b-two"
    assert names("scope=g&name=B-") == "b-one b-two"
    assert names("scope=g&sort=-name&page_size=1") == "b-two"
    assert names("scope=g&q=name=b-one") == "b-one"
    assert names(f"scope=p&project_id={library.pk}") == "own"  # library is public
    for query, message in (
        ("", "invalid scope: "),
        ("scope=x", "invalid scope: x"),
        ("scope=p", "must with project ID when to query project labels"),
    ):
        reply = admin.get(f"/labels?{query}")
        assert (reply.status, reply.message) == (400, message)


def test_update(admin: Api) -> None:
    number, taken = make(admin, color="red").id, make(admin, "taken").id
    assert admin.put(f"/labels/{number}", {"name": "new", "scope": "p", "project_id": 1}).status == 200
    shown = admin.get(f"/labels/{number}").body
    assert (shown["name"], shown["scope"], "color" in shown, "project_id" in shown) == (
        "new",
        "g",
        False,
        False,
    )
    for body, status, message in (
        ({"description": "only"}, 400, "cannot be empty"),
        ({"name": "x" * 129}, 400, "max length is 128"),
        ({"name": "taken"}, 409, "label taken already exists"),
    ):
        reply = admin.put(f"/labels/{number}", body)
        assert (reply.status, reply.message) == (status, message)
    assert admin.delete(f"/labels/{taken}").status == 200
    assert admin.delete(f"/labels/{taken}").message == f"label {taken} not found"


def test_global_labels_are_for_system_administrators(
    admin: Api, alice: Person, charlie: Person, anonymous: Api, as_: As
) -> None:
    number = make(admin).id
    calls: list[Callable[[Api], Reply]] = [
        lambda api: api.get(f"/labels/{number}"),
        lambda api: make(api, "other"),
        lambda api: api.put(f"/labels/{number}", {"name": "x"}),
        lambda api: api.delete(f"/labels/{number}"),
        lambda api: api.get("/labels/99999999"),
    ]
    for person in (alice, charlie):
        assert [(r.status, r.message) for r in (call(as_(person)) for call in calls)] == [
            (403, person.name)
        ] * 5
    assert [call(anonymous).status for call in calls] == [401] * 5


def test_labels_of_a_project(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, library: Project, as_: As
) -> None:
    Project.objects.filter(pk=library.pk).update(public=False)
    limited = make_person("dora")
    make_member(library, limited, Member.Role.LIMITED_GUEST)
    number = make(as_(alice), scope="p", project_id=library.pk).id
    calls: list[Callable[[Api], Reply]] = [
        lambda api: api.get(f"/labels?scope=p&project_id={library.pk}"),
        lambda api: api.get(f"/labels/{number}"),
        lambda api: make(api, "other", "p", project_id=library.pk),
        lambda api: api.put(f"/labels/{number}", {"name": "hot"}),
        lambda api: api.delete(f"/labels/{number}"),
    ]
    assert [call(as_(bob)).status for call in calls] == [200, 200, 403, 403, 403]
    assert [(r.status, r.message) for r in (call(as_(limited)) for call in calls)] == [(403, "forbidden")] * 5
    # A number of a project that is hidden says no more than one that names nothing.
    replies = [call(as_(charlie)) for call in calls]
    assert [r.status for r in replies] == [403] * 5
    assert [r.message for r in replies] == ["forbidden", "charlie", "forbidden", "charlie", "charlie"]
    assert as_(charlie).get("/labels/99999999").body == replies[1].body
    assert [call(anonymous).status for call in calls] == [401] * 5
    assert [call(as_(alice)).status for call in calls] == [200, 200, 201, 200, 200]


# -- of artifacts

PATH = "/projects/library/repositories/app/artifacts/v1"


def test_attach_and_detach(admin: Api, library: Project) -> None:
    artifact = push_image(library, "app", "v1")
    everywhere, own = make(admin).id, make(admin, "own", "p", project_id=library.pk).id
    foreign = make(admin, "foreign", "p", project_id=make_project("other").pk).id
    for number in (everywhere, own):
        assert admin.post(f"{PATH}/labels", {"id": number, "name": "ignored"}).status == 200
    for body, status, message in (
        ({"id": own}, 409, f"label {own} is already added to the artifact {artifact.pk}"),
        ({"id": foreign}, 404, f"project id {library.pk}, label {foreign} not found"),
        ({"id": 99999999}, 404, "label 99999999 not found"),
        ({}, 404, "label 0 not found"),
    ):
        reply = admin.post(f"{PATH}/labels", body)
        assert (reply.status, reply.message) == (status, message)
    assert [label["name"] for label in admin.get(f"{PATH}?with_label=true").body["labels"]] == ["hot", "own"]
    assert admin.get(PATH).body["labels"] is None
    assert admin.delete(f"{PATH}/labels/{own}").status == 200
    reply = admin.delete(f"{PATH}/labels/{own}")
    assert (reply.status, reply.message) == (
        404,
        f"reference with label {own} and artifact {artifact.pk} not found",
    )
    assert admin.delete(f"/labels/{everywhere}").status == 200
    assert admin.get(f"{PATH}?with_label=true").body["labels"] is None


def test_find_by_labels(admin: Api, library: Project) -> None:
    push_image(library, "app", "v1")
    push_image(library, "app", "v2")
    a, b = make(admin, "a").id, make(admin, "b").id
    for tag, labels in (("v1", (a, b)), ("v2", (a,))):
        for number in labels:
            admin.post(f"/projects/library/repositories/app/artifacts/{tag}/labels", {"id": number})

    def tags(query: str) -> str:
        shown = admin.get(
            f"/projects/library/repositories/app/artifacts?q=labels={query}&sort=push_time"
        ).body
        return " ".join(artifact["tags"][0]["name"] for artifact in shown)

    assert tags(f"({a})") == "v1 v2"
    assert tags(f"({a}%20{b})") == "v1"
    assert tags("(99999999)") == ""


def test_an_artifact_takes_its_labels_along(admin: Api, library: Project) -> None:
    push_image(library, "app", "v1")
    admin.post(f"{PATH}/labels", {"id": make(admin).id})
    assert admin.delete(PATH).status == 200
    assert not ArtifactLabel.objects.exists()
    push_image(library, "app", "v1")
    admin.post(f"{PATH}/labels", {"id": Label.objects.get(name="hot").pk})
    assert admin.delete("/projects/library/repositories/app").status == 200
    assert Label.objects.filter(name="hot").exists()


def test_who_attaches(
    alice: Person, bob: Person, charlie: Person, admin: Api, anonymous: Api, library: Project, as_: As
) -> None:
    push_image(library, "app", "v1")
    number = make(admin).id
    calls: list[Callable[[Api], Reply]] = [
        lambda api: api.post(f"{PATH}/labels", {"id": number}),
        lambda api: api.delete(f"{PATH}/labels/{number}"),
    ]
    assert [call(anonymous).status for call in calls] == [401, 401]
    assert [call(as_(charlie)).status for call in calls] == [403, 403]
    for member in (alice, bob):
        assert [call(as_(member)).status for call in calls] == [200, 200]


# -- bodies, over HTTP


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"name":"a","scope":"g"}x', "a"),
        (b'{"name":"a","name":"b","scope":"g"}', "b"),
        (b'{"NAME":"a","Scope":"g"}', "a"),
        (b'{"name":"a","scope":"g","colour":"red","creation_time":"2001-01-01T00:00:00Z"}', "a"),
        ('{"name":"中\\u0079","scope":"g"}'.encode(), "中y"),
    ],
)
def test_bodies_that_are_taken(admin: Api, raw: bytes, name: str) -> None:
    assert admin.request("POST", "/labels", raw=raw).status == 201
    (label,) = admin.get("/labels?scope=g").body
    assert label["name"] == name
    assert label["creation_time"] > "2020"


def test_bodies_where_none_belongs(admin: Api) -> None:
    assert admin.request("GET", "/labels?scope=g", raw=b"nonsense").body == []
    assert admin.request("DELETE", "/labels/99999999", raw=b"nonsense").status == 404
    assert admin.request("DELETE", "/labels/99999999", raw=b"x", content_type="text/plain").status == 422
