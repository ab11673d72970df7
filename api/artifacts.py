"""Tag artifact: artifacts of a repository or project (contract 1.2, 3.5)."""

from __future__ import annotations

import urllib.parse
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf

from api import accessories, addressing, icons, query
from api.artifact_tags import present_tags
from api.contract import PREFIX
from api.dispatch import Answer, Call, listed, page_headers, search
from api.labels import present_labels
from api.pagination import Page
from projects.models import ArtifactLabel, Label
from rbac.catalogue import Permission
from registry_core import deletions
from registry_core.additions import READERS
from registry_core.errors import BadRequest
from registry_core.models import Artifact, ArtifactChild, Tag

_WASM_CONFIG = "application/vnd.wasm.config.v1+json"


# -- which there are


def _tagged(match: query.Match) -> Q:
    tags = Tag.objects.filter(artifact=OuterRef("pk"))
    match match:
        case query.Exact("*"):
            return Q(Exists(tags))
        case query.Exact("nil"):
            return ~Q(Exists(tags))
        case query.Exact(name):
            return Q(Exists(tags.filter(name=name)))
        case query.Fuzzy(part):
            return Q(Exists(tags.filter(name__icontains=part)))
    raise BadRequest('the value of "tags" query can only be fuzzy match value or exact match value')


def _labelled(match: query.Match) -> Q:
    labels = match.values if isinstance(match, query.AllOf) else ("",)
    condition = Q()
    for label in labels:
        if not isinstance(label, int):
            raise BadRequest(
                'the value of "labels" query can only be integer list with intersetion relationship'
            )
        condition &= Q(Exists(ArtifactLabel.objects.filter(artifact=OuterRef("pk"), label=label)))
    return condition


def _with_children(match: query.Match) -> Q:
    if match != query.Exact("*"):
        raise BadRequest('the value of "base" query can only be exact match value with "*"')
    return Q()


def _has_icon(match: query.Match) -> Q:
    if match == query.Exact(icons.OTHER):
        return ~Q(kind__in=list(icons.OF_KIND))
    return Q(kind__in=[kind for kind, icon in icons.OF_KIND.items() if match == query.Exact(icon)])


def _of_repository(match: query.Match) -> Q:
    if not isinstance(match, query.Exact):
        raise BadRequest("repository_name takes a whole name here")
    project, _, path = match.value.partition("/")
    return Q(repository__namespace__name=project, repository__path=path)


FIELDS = query.FieldMap(
    [
        query.Field("id", "id", "integer"),
        query.Field("type", "kind"),
        query.Field("media_type", "shown_media_type"),
        query.Field("manifest_media_type", "media_type"),
        query.Field("artifact_type", "shown_artifact_type"),
        query.Field("project_id", "repository__namespace__project__id", "integer"),
        query.Field("repository_id", kind="integer"),
        query.Field("repository_name", condition=_of_repository, sortable=False),
        query.Field("digest"),
        query.Field("size", kind="integer"),
        query.Field("icon", condition=_has_icon, sortable=False),
        query.Field("push_time", "pushed_at", "time"),
        query.Field("pull_time", "pulled_at", "time"),
        query.Field("tags", condition=_tagged, sortable=False),
        query.Field("labels", condition=_labelled, sortable=False),
        query.Field("base", condition=_with_children, sortable=False),
    ],
    default=("-pushed_at", "-id"),
)


def listed_artifacts(*, with_children: bool = False) -> QuerySet[Artifact]:
    """What lists show: no accessories, and of the parts of an index only those that have a tag of their own."""
    rows = Artifact.objects.defer("payload").filter(subject_digest="")
    if with_children:
        return rows
    # One condition and not two with OR between them: PostgreSQL makes a join of it, where that is cheaper.
    tags = Tag.objects.filter(artifact=OuterRef("child"))
    return rows.filter(~Exists(ArtifactChild.objects.filter(~Exists(tags), child=OuterRef("pk"))))


def _searchable(call: Call) -> QuerySet[Artifact]:
    asked = {key.lower() for key in query.parse(call.query.get("q") or "")}
    return listed_artifacts(with_children="base" in asked).annotate(
        shown_media_type=Coalesce(NullIf("config_media_type", Value("")), "media_type"),
        shown_artifact_type=Coalesce(NullIf("artifact_type", Value("")), "config_media_type"),
    )


# -- what they look like


def present_artifacts(call: Call, rows: list[Artifact]) -> list[dict[str, Any]]:
    """A page of artifacts, each with its repository and project loaded; one query for each kind of belongings."""
    ids = [row.pk for row in rows]
    tags: dict[int, list[Tag]] = defaultdict(list)
    if call.query.get("with_tag"):
        for tag in Tag.objects.filter(artifact__in=ids).order_by("-pushed_at", "-id"):
            tags[tag.artifact_id].append(tag)
    children: dict[int, list[ArtifactChild]] = defaultdict(list)
    for child in ArtifactChild.objects.filter(artifact__in=ids).order_by("position"):
        children[child.artifact_id].append(child)
    labels: dict[int, list[Label]] = defaultdict(list)
    if call.query.get("with_label"):
        found_labels = ArtifactLabel.objects.filter(artifact__in=ids).select_related("label")
        for entry in found_labels.order_by("id"):
            labels[entry.artifact_id].append(entry.label)
    attached: dict[tuple[int, str], list[Artifact]] = defaultdict(list)
    if call.query.get("with_accessory") and rows:
        digests, homes = {row.digest for row in rows}, {row.repository_id for row in rows}
        found = accessories.accessories().filter(repository__in=homes, subject_digest__in=digests)
        for row in found.order_by("id"):
            attached[row.repository_id, row.subject_digest].append(row)
    return [
        _present(row)
        | {
            "tags": present_tags(tags[row.pk]) or None,
            "labels": present_labels(labels[row.pk]) or None,
            "references": [_present_child(child) for child in children[row.pk]] or None,
            "accessories": accessories.present_accessories(
                attached[row.repository_id, row.digest], row.repository.name
            )
            or None,
        }
        for row in rows
    ]


def _present(row: Artifact) -> dict[str, Any]:
    is_compat_wasm = row.annotations.get("module.wasm.image/variant") == "compat"
    return {
        "id": row.pk,
        "type": row.kind,
        "media_type": _WASM_CONFIG if is_compat_wasm else row.config_media_type or row.media_type,
        "manifest_media_type": row.media_type,
        "artifact_type": row.artifact_type or row.config_media_type,
        "project_id": row.repository.namespace.project.pk,
        "repository_id": row.repository_id,
        "repository_name": row.repository.name,
        "digest": row.digest,
        "size": row.size,
        "icon": icons.OF_KIND.get(row.kind, icons.OTHER),
        "push_time": row.pushed_at,
        "pull_time": row.pulled_at,
        "extra_attrs": row.extra_attrs,
        "annotations": row.annotations,
        "addition_links": _addition_links(row),
    }


def _addition_links(row: Artifact) -> dict[str, dict[str, Any]] | None:
    path = urllib.parse.quote(urllib.parse.quote(row.repository.path, safe=""), safe="")
    base = f"{PREFIX}/projects/{row.repository.namespace.name}/repositories/{path}/artifacts"
    names = _linked_additions(row)
    links = {name: f"{base}/{row.digest}/additions/{name}" for name in names}
    if row.kind == "IMAGE":
        links["vulnerabilities"] = f"{base}/{row.digest}/additions/vulnerabilities"
        links["sboms"] = f"{base}//additions/sbom"  # without an SBOM its digest is empty (contract 3.5)
    return {name: {"href": href, "absolute": False} for name, href in links.items()} or None


def _linked_additions(row: Artifact) -> Iterable[str]:
    """Indexes have none; an SBOM's is linked by the image that it belongs to."""
    return READERS.get(row.kind, ()) if row.config_media_type and row.kind != "SBOM" else ()


def _present_child(child: ArtifactChild) -> dict[str, Any]:
    platform = child.descriptor.get("platform")
    return {
        "parent_id": child.artifact_id,
        "child_id": child.child_id,
        "child_digest": child.digest,
        "platform": _present_platform(platform) if isinstance(platform, dict) else None,
        "annotations": child.descriptor.get("annotations"),
        "urls": child.descriptor.get("urls"),
    }


def _present_platform(platform: dict[str, Any]) -> dict[str, Any]:
    return {
        "architecture": platform.get("architecture"),
        "os": platform.get("os"),
        "OsVersion": platform.get("os.version"),
        "variant": platform.get("variant"),
        "OsFeatures": platform.get("os.features"),
    }


# -- operations


def list_artifacts(call: Call) -> Answer:
    """Of an absent repository there are none (contract 7)."""
    repository = addressing.find_repository(call, Permission.ARTIFACT_LIST)
    matches = search(call, _searchable(call), FIELDS)
    if repository is None:
        return Answer([], headers=page_headers(call, Page.of(call.query), 0))
    rows = matches.filter(repository=repository).select_related("repository__namespace__project")
    return listed(call, rows, lambda page: present_artifacts(call, page))


def list_artifacts_of_project(call: Call) -> Answer:
    call.require_sign_in()  # of public projects, too
    project = addressing.project(call, Permission.ARTIFACT_LIST)
    rows = search(call, _searchable(call), FIELDS).filter(repository__namespace=project.namespace)
    if call.query.get("latest_in_repository"):
        rows = _latest_in_repositories(call, rows)
    rows = rows.select_related("repository__namespace__project")
    return listed(call, rows, lambda page: present_artifacts(call, page), by_key=True)


def _latest_in_repositories(call: Call, rows: QuerySet[Artifact]) -> QuerySet[Artifact]:
    asked = {key.lower() for key in query.parse(call.query.get("q") or "")}
    if len(asked & {"media_type", "artifact_type"}) != 1:
        raise BadRequest(
            "bad request: either 'media_type' or 'artifact_type' must be specified, but not both, when querying "
            "with latest_in_repository"
        )
    newest = rows.order_by("repository", "-pushed_at", "-id").distinct("repository")
    return rows.filter(pk__in=newest.values("pk"))


def get_artifact(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.ARTIFACT_READ)
    return Answer(present_artifacts(call, [artifact])[0])


def delete_artifact(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.ARTIFACT_DELETE)
    deletions.delete_artifact(artifact, call.by, call.identity.address)
    return Answer()
