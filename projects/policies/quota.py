"""Storage quotas: what a project holds, every digest once, never exceeds its limit (design 4; contract 3.3, 6.8).

The counter is one row a project, changed in the last statement of the transaction that changes what is held: the
condition and the sum are one statement, so no number of pushers goes over, and nobody holds the row for longer than a
commit takes. What no manifest names yet is not counted there; it has a cap of its own, as large as the limit.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db import connection

from projects.models import Project
from registry_core import accounting, audit, errors
from registry_core.hooks import Arrival, Principal, Push
from registry_core.locks import retrying
from registry_core.statements import Statement

log = logging.getLogger("breakwater.quota")

UNLIMITED = -1
MAX_LIMIT = 1 << 50
PROOF_DAYS = 1

# Off, nothing is refused. It is counted all the same: switched on again, the numbers are right (contract 6.8).
_ENFORCED = """NOT EXISTS (
    SELECT 1 FROM registry_core_setting s WHERE s.name = 'quota_per_project_enable' AND s.value = 'false')"""
_OF_NAMESPACE = """
projects_quota q JOIN projects_project p ON p.id = q.project_id JOIN registry_core_namespace n ON n.id = p.namespace_id
WHERE p.namespace_id = %(namespace)s
"""
_LIMIT = f"SELECT n.name, q.hard, q.used FROM {_OF_NAMESPACE}"  # noqa: S608  constants
_USE = Statement(
    "quota_use",
    f"""
UPDATE projects_quota q SET used = q.used + %(new)s FROM projects_project p
WHERE p.namespace_id = %(namespace)s AND q.project_id = p.id
    AND (q.hard < 0 OR q.used + %(new)s <= q.hard OR NOT {_ENFORCED})
RETURNING 1
""",  # noqa: S608  constants
)


def check_push(push: Push) -> None:
    """Count what the push adds, or Denied. A manifest that adds nothing is welcome in a full project, too."""
    if push.new_bytes == 0:
        return
    namespace_id = push.namespace_id
    with connection.cursor() as cursor:
        _USE.run(cursor, {"namespace": namespace_id, "new": push.new_bytes})
        if cursor.fetchone() is not None:
            return
        cursor.execute(_LIMIT, {"namespace": namespace_id})
        row = cursor.fetchone()
    if row is not None:  # without a project there is nobody to set a limit
        name, hard, used = row
        raise _exceeded(push.principal, name, hard, used, push.new_bytes)


# Whether check_upload has anything to say.
LIMITED = f"""EXISTS (
    SELECT 1 FROM projects_quota q JOIN projects_project p ON p.id = q.project_id
    WHERE p.namespace_id = %(namespace)s AND q.hard >= 0 AND {_ENFORCED})"""  # noqa: S608  constants
# Not enough room for all of it. What of it is new, and whether others filled the project, COUNT finds out.
FULL = f"""EXISTS (
    SELECT 1 FROM projects_quota q JOIN projects_project p ON p.id = q.project_id
    WHERE p.namespace_id = %(namespace)s AND q.hard >= 0 AND q.used + {{most}} > q.hard AND {_ENFORCED})"""  # noqa: S608  constants
COUNT = Statement(
    "quota_count",
    f"""
WITH added AS MATERIALIZED (SELECT nullif(current_setting('breakwater.new_bytes'), '')::bigint AS bytes), used AS (
    UPDATE projects_quota q SET used = q.used + added.bytes FROM projects_project p, added
    WHERE p.namespace_id = %(namespace)s AND q.project_id = p.id AND added.bytes > 0
        AND (q.hard < 0 OR q.used + added.bytes <= q.hard OR NOT {_ENFORCED})
    RETURNING 1
)
SELECT ('does not fit: ' || bytes)::bigint FROM added
WHERE bytes > 0 AND NOT EXISTS (SELECT 1 FROM used) AND EXISTS (
    SELECT 1 FROM projects_quota q JOIN projects_project p ON p.id = q.project_id
    WHERE p.namespace_id = %(namespace)s)
""",  # noqa: S608  constants
)
_ROOM = Statement(
    "quota_room",
    f"""
SELECT n.name, q.hard, q.used, EXISTS (
    SELECT 1 FROM registry_core_namespaceblob h WHERE h.namespace_id = %(namespace)s AND h.digest = %(digest)s)
FROM {_OF_NAMESPACE} AND q.hard >= 0 AND {_ENFORCED}
""",  # noqa: S608  constants
)


def check_upload(arrival: Arrival) -> None:
    """Denied where the blob could not be counted any more, or too much waits for its manifest already."""
    with connection.cursor() as cursor:
        _ROOM.run(cursor, {"namespace": arrival.namespace_id, "digest": arrival.digest})
        row = cursor.fetchone()
    if row is None:
        return
    name, hard, used, is_held = row
    if is_held:
        return
    if used + arrival.size > hard:
        raise _exceeded(arrival.principal, name, hard, used, arrival.size)
    if not arrival.digest:
        return
    waiting = accounting.waiting_bytes(arrival.namespace_id, besides=arrival.digest)
    if waiting + arrival.size > hard:
        raise _too_much_waits(arrival.principal, name, hard, waiting, arrival.size)


# -- the limit


def check_limit(limit: int) -> int:
    """BadRequest for what is neither a number of bytes up to 1024 TiB nor -1 for none."""
    if limit < 1 and limit != UNLIMITED:
        raise errors.BadRequest(f"invalid non-positive value for quota limit, value={limit}")
    if limit > MAX_LIMIT:
        raise errors.BadRequest(f"exceeded 1024TB, which is {MAX_LIMIT} Bytes, value={limit}")
    return limit


@retrying
def set_limit(project: Project, limit: int, *, by: str, address: str = "") -> None:
    """One below what is used is taken, too: then nothing goes in that adds (contract 6.8)."""
    check_limit(limit)
    audit.record(
        by, audit.UPDATE, "quota", project.name,
        f"update quota: {project.name}, storage {limit}",
        namespace_id=project.namespace_id, address=address,
    )  # fmt: skip
    with connection.cursor() as cursor:  # last, as pushers lock it
        cursor.execute(
            "UPDATE projects_quota SET hard = %s, updated_at = now() WHERE project_id = %s",
            [limit, project.pk],
        )
        if cursor.rowcount == 0:
            raise errors.NotFound(f"project {project.name} not found")


def give_back(namespace_id: int, freed: int) -> None:
    """What a deletion took from the project counts no more, whatever becomes of the bytes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE projects_quota q SET used = greatest(q.used - %s, 0) FROM projects_project p "
            "WHERE p.namespace_id = %s AND q.project_id = p.id",
            [freed, namespace_id],
        )


# -- saying why


def as_text(count: int) -> str:
    """Bytes as Harbor writes them: `905 B`, `1.5 MiB`."""
    if count < 1024:
        return f"{count} B"
    size, unit = count / 1024, 0
    while size >= 1024 and unit < 5:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {'KMGTPE'[unit]}iB"


def _exceeded(principal: Principal, project: str, hard: int, used: int, adding: int) -> errors.Denied:
    verb = "adding" if adding else "subtracting"
    message = (
        f"{verb} {as_text(adding)} of storage resource, which when updated to current usage of {as_text(used)} "
        f"will exceed the configured upper limit of {as_text(hard)}."
    )
    detail = {
        "rule": f"the artifacts of project {project} may take {hard} bytes of storage",
        "principal": f"{principal.kind} {principal.name}",
        "limit": hard,
        "used": used,
        "adding": adding,
        "fix": "delete artifacts of the project, or have its quota raised",
        "who": f"whoever may delete artifacts of project {project}; a system administrator raises quotas",
    }
    return errors.Denied(message, detail)


def _too_much_waits(
    principal: Principal, project: str, hard: int, waiting: int, adding: int
) -> errors.Denied:
    message = (
        f"blobs of {as_text(waiting)} wait for their manifests in project {project}; with {as_text(adding)} more they "
        f"would exceed its storage limit of {as_text(hard)}."
    )
    detail = {
        "rule": f"blobs of project {project} that no manifest names yet may take {hard} bytes",
        "principal": f"{principal.kind} {principal.name}",
        "limit": hard,
        "used": waiting,
        "adding": adding,
        "fix": "push the manifests of these blobs or DELETE them; blobs that are left alone go after a day",
        "who": "whoever pushed them",
    }
    return errors.Denied(message, detail)


# -- the proof


@dataclass(frozen=True, slots=True)
class Drift:
    """What a proof found wrong in one project, and mended: bytes that pairs lacked or had too many;
    the counter's error against them.
    """

    project: str
    lacking: int
    surplus: int
    counter: int

    @property
    def is_none(self) -> bool:
        return not (self.lacking or self.surplus or self.counter)


_CLAIM = """
UPDATE projects_quota SET proven_at = now() WHERE id = (
    SELECT id FROM projects_quota WHERE proven_at < now() - %s * interval '1 day'
    ORDER BY proven_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING (SELECT namespace_id FROM projects_project p WHERE p.id = project_id)
"""
# Counter and pairs change in the same transactions: in one snapshot they are equal, whoever pushes meanwhile.
_COMPARE = f"""
SELECT n.name, coalesce((SELECT sum(h.size) FROM registry_core_namespaceblob h
                         WHERE h.namespace_id = %(namespace)s), 0) - q.used FROM {_OF_NAMESPACE}
"""  # noqa: S608  constants
_CORRECT = """
UPDATE projects_quota q SET used = q.used + %(by)s FROM projects_project p
WHERE p.namespace_id = %(namespace)s AND q.project_id = p.id
"""


def prove_quotas() -> list[Drift]:
    """Prove, and where they drifted mend, the counters of all projects whose last proof is a day old; what was found.

    Several workers share the work: a project is claimed by a conditional update.
    """
    found = []
    while (namespace_id := _claim()) is not None:
        drift = prove(namespace_id)
        if not drift.is_none:
            found.append(drift)
    return found


@retrying
def _claim() -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [PROOF_DAYS])
        row = cursor.fetchone()
    return None if row is None else int(row[0])


@retrying
def prove(namespace_id: int) -> Drift:
    """Artifacts and edges against pairs, pairs against the counter of one project; the former are right."""
    arguments = {"namespace": namespace_id}
    with connection.cursor() as cursor:
        cursor.execute(_COMPARE, arguments)
        row = cursor.fetchone()
        if row is None:  # deleted meanwhile
            return Drift("", 0, 0, 0)
        name, counter = row[0], int(row[1])
        lacking, surplus = accounting.mend(namespace_id)
        if by := counter + lacking - surplus:
            cursor.execute(_CORRECT, {**arguments, "by": by})
    drift = Drift(name, lacking, surplus, counter)
    if not drift.is_none:
        fields = {"project": name, "lacking": lacking, "surplus": surplus, "counter": counter}
        log.error("quota drift mended", extra={"fields": fields})
    return drift
