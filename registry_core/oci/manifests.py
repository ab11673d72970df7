"""Manifests: pull, push, delete (distribution-spec "Pulling manifests", "Pushing Manifests", "Deleting")."""

from __future__ import annotations

from collections.abc import Coroutine

from registry_core import actions, deletions, errors, hooks, lookups, pulls
from registry_core.digests import is_digest, looks_like_digest, parse_digest
from registry_core.manifests import MAX_BYTES, parse_manifest
from registry_core.models import Artifact
from registry_core.oci.request import Request
from registry_core.references import RepositoryName, is_tag, parse_tag
from registry_core.threads import in_thread

MAX_TAGS = 16
# Harbor's own probes; they are no pulls (contract 3.2).
_MACHINE = b"harbor-registry-client"


async def get(request: Request, name: RepositoryName, reference: str) -> None:
    caller = request.caller()
    grant = await hooks.authorize(caller, name, "pull")
    stored = await _find(grant, name, reference)
    if grant.policies:
        for check in hooks.pull_checks:
            await check(grant, name, stored, caller)
    if request.already_has(stored.digest):
        await request.answer(304, stored.headers[2:])
        return
    await _send(request, stored, grant, name, reference)


def get_known(request: Request, name: RepositoryName, reference: str) -> Coroutine[None, None, None] | None:
    """`get` where nobody has to be asked for anything: the same decisions, without waiting between them. None: not so.

    Most pulls are of this kind, and each step that may wait costs them.
    """
    authorization = request.headers.get(b"authorization", b"").decode("latin-1")
    grant = hooks.known_grant(authorization, request.address, name, "pull")
    if grant is None or grant.policies or b"if-none-match" in request.headers:
        return None
    known = lookups.known_manifest(grant.namespace_id, name.path, reference)
    if known is None or known[0] is None:
        return None
    return _send(request, known[0], grant, name, reference)


async def _send(
    request: Request, stored: lookups.Stored, grant: hooks.Grant, name: RepositoryName, reference: str
) -> None:
    await request.answer(200, stored.headers, stored.payload)
    if request.method == "GET" and _MACHINE not in request.headers.get(b"user-agent", b""):
        pulls.note(stored, grant, name, reference, request.address)


async def _find(grant: hooks.Grant, name: RepositoryName, reference: str) -> lookups.Stored:
    """What is neither a tag nor a digest names nothing that could be here: 404 as for any other absent reference."""
    stored = None
    if is_tag(reference) or is_digest(reference):
        stored = await lookups.find_manifest(grant.namespace_id, name.path, reference)
        if stored is None and await hooks.on_miss(grant, name, reference):
            stored = await lookups.find_manifest(grant.namespace_id, name.path, reference)
    if stored is None:
        sign = "@" if is_digest(reference) else ":"
        raise errors.ManifestUnknown(
            f"artifact {name}{sign}{reference} not found", {"repository": str(name), "reference": reference}
        )
    return stored


async def put(request: Request, name: RepositoryName, reference: str) -> None:
    grant = await hooks.authorize(request.caller(), name, "push")
    algorithm, tags = "sha256", request.query.get("tag", [])
    if by_digest := looks_like_digest(reference):
        algorithm = parse_digest(reference).algorithm
        if len(tags) > MAX_TAGS:
            raise errors.BadRequest(f"at most {MAX_TAGS} tag parameters", {"limit": MAX_TAGS, "given": len(tags)})
    else:
        tags = [reference]
    tags = [parse_tag(tag) for tag in tags]
    manifest = parse_manifest(await request.body(MAX_BYTES), request.header("content-type"), algorithm)
    if by_digest and str(manifest.digest) != reference:
        raise errors.DigestInvalid(
            "the manifest's digest is another one", {"given": reference, "computed": str(manifest.digest)}
        )
    pushed = await in_thread(actions.put_manifest, grant, name, manifest, tags, request.address)
    headers = {
        "location": f"{request.base_url}/v2/{name}/manifests/{pushed.digest}",
        "docker-content-digest": pushed.digest,
    }
    if pushed.subject:
        headers["oci-subject"] = pushed.subject
    extra = [(b"oci-tag", tag.encode()) for tag in pushed.tags] if by_digest else []
    await request.start(
        201, [*((k.encode(), v.encode()) for k, v in headers.items()), *extra, (b"content-length", b"0")]
    )
    await request.send({"type": "http.response.body", "body": b"", "more_body": False})


async def delete(request: Request, name: RepositoryName, reference: str) -> None:
    """By tag the tag goes, by digest the artifact with all its tags (the spec; Harbor refuses the former)."""
    grant = await hooks.authorize(request.caller(), name, "delete")
    stored = await _find(grant, name, reference)
    by = grant.principal.name
    if is_digest(reference):
        artifact = Artifact(pk=stored.artifact_id, repository_id=stored.repository_id, digest=stored.digest)
        await in_thread(deletions.delete_artifact, artifact, by, request.address)
    else:
        await in_thread(deletions.delete_tag, stored.repository_id, reference, by, request.address)
    await request.answer_empty(202, {})
