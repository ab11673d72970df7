"""Uploads that a client begins and never ends, push after push, until it may not begin another one."""

from __future__ import annotations

from tests.content import digest_of, new_bytes
from tests.faults.conftest import Alone
from tests.reporting import Report
from tests.server import Pair, Repository, assert_refused

LIMIT = 1000  # sessions of one principal (docs/operations.md has none: it is a limit on input, design 11)
# As if that many had been begun, each by a PATCH of four bytes that nobody went on with.
FILL = """
INSERT INTO registry_core_upload (id, repository_id, principal, key, algorithm, "offset", content_digest, state,
    writer, writer_until, created_at, updated_at)
SELECT gen_random_uuid(), u.repository_id, u.principal, 'objects/ff/ff/' || replace(gen_random_uuid()::text, '-', ''),
    'sha256', 0, '', '{}', u.writer, u.writer_until, u.created_at,
    now() - %s * interval '1 second' - n * interval '1 ms'
FROM registry_core_upload u, generate_series(1, %s) n WHERE u.id = %s RETURNING id
"""
OPEN = "SELECT count(*) FROM registry_core_upload WHERE principal = %s"


def test_a_robot_with_many_broken_pushes_may_push_again(server: Alone, project: str, report: Report) -> None:
    robot: Pair = server.create_robot(project)
    repository: Repository = server.repository(f"{project}/left", robot)
    mine = repository.start_upload()
    assert repository.client.patch(mine, content=b"mine").status_code == 202
    upload = mine.rpartition("/")[2]
    ((principal,),) = server.rows("SELECT principal FROM registry_core_upload WHERE id = %s", upload)

    server.rows(FILL, 60, LIMIT - 1, upload)
    error = assert_refused(repository.post("blobs/uploads/"), 429, "TOOMANYREQUESTS")
    assert error["detail"]["limit"] == LIMIT

    # An hour later; one of them is being written to for as long.
    age = "UPDATE registry_core_upload SET updated_at = updated_at - interval '1 h' WHERE principal = %s AND id <> %s"
    server.rows(age, principal, upload)
    written = server.rows(
        "UPDATE registry_core_upload SET writer = gen_random_uuid(), writer_until = now() + interval '60 s' "
        "WHERE id IN (SELECT id FROM registry_core_upload WHERE principal = %s ORDER BY updated_at LIMIT 1) "
        "RETURNING id",
        principal,
    )
    for _ in range(60):
        data = new_bytes()
        location = repository.start_upload()
        assert (
            repository.client.put(location, params={"digest": digest_of(data)}, content=data).status_code
            == 201
        )
        repository.start_upload()
    assert server.rows(OPEN, principal)[0][0] <= LIMIT
    assert server.rows("SELECT id FROM registry_core_upload WHERE id = %s", written[0][0]) == written
    assert repository.client.patch(mine, content=b" still").status_code == 202
    assert repository.client.get(mine).headers["Range"] == "0-9"
    server.rows(
        "UPDATE registry_core_upload SET writer = NULL, writer_until = NULL WHERE principal = %s", principal
    )
    server.collect()
    assert server.scrub(100) == []
    report(f"{LIMIT} uploads left behind: 429; an hour later 120 more were begun, 60 of them ended as blobs")
