"""Lists of the REST API in a large registry: first, middle and last page of a hundred rows each.

200 projects of 50 repositories, one repository of 100,000 artifacts and tags, five million audit rows (manage.py seed).
A row's value is the 95th percentile of the slowest of its pages, asked one after the other.
"""

from __future__ import annotations

import http.client
import math
import time
from dataclasses import dataclass

from tests.bench.progress import say
from tests.bench.registries import Breakwater, Registry, basic
from tests.bench.rows import Bench, Goal, Measure, RowFailed, row
from tests.components import process
from tests.components.breakwater import ADMIN, Credentials

SIZE = {"projects": 200, "repos": 50, "artifacts": 100_000, "tags": 100_000, "audit": 5_000_000}
PAGE = 100
ASKED = 20  # times each page
LARGEST = 300.0  # ms
_ADMINISTERED = 20  # projects of the one who is no system administrator

_seeded: list[Seeded] = []


@dataclass
class Seeded:
    registry: Breakwater
    person: Credentials

    def get(self, path: str, who: Credentials) -> tuple[float, http.client.HTTPMessage, bytes]:
        """Seconds, headers, body; another status than 200 fails the row."""
        connection = self.registry.connect()
        began = time.monotonic()
        connection.request("GET", f"/api/v2.0{path}", headers={"Authorization": basic(who)})
        answer = connection.getresponse()
        body = answer.read()
        took = time.monotonic() - began
        connection.close()
        if answer.status != 200:
            raise RowFailed(f"GET {path}: {answer.status} {body[:300]!r}")
        return took, answer.headers, body


def seeded() -> Seeded:
    """Started and filled once for all rows."""
    if not _seeded:
        registry = Breakwater(process.run_directory() / "rest")
        registry.start()
        say(f"seeding {SIZE['artifacts']:,} artifacts and {SIZE['audit']:,} audit rows")
        done = registry.server.manage("seed", *(f"--{name}={count}" for name, count in SIZE.items()))
        if done.returncode:
            raise RowFailed(done.stderr[-500:])
        projects = {f"seed-{i:04}": 1 for i in range(1, _ADMINISTERED + 1)}
        _seeded.append(Seeded(registry, registry.server.create_user(member_of=projects)))
    return _seeded[0]


def stop_seeded() -> None:
    while _seeded:
        _seeded.pop().registry.server.remove()


WITH_ALL = "with_tag=true&with_label=true&with_accessory=true&with_scan_overview=true&with_immutable_status=true"
MANY = "/projects/seed-0001/repositories/many"
LISTS = {
    "projects": ("/projects", "projects"),
    "repositories": ("/repositories", "repositories of the registry"),
    "project_repositories": ("/projects/seed-0002/repositories", "repositories of a project"),
    "artifacts": (f"{MANY}/artifacts?{WITH_ALL}", "artifacts, with tags, labels, accessories"),
    "artifacts_by_type": (f"{MANY}/artifacts?q=type%3DIMAGE", "artifacts of a type"),
    "project_artifacts": ("/projects/seed-0001/artifacts", "artifacts of a project"),
    "users": ("/users", "users"),
    "members": ("/projects/seed-0001/members", "members"),
    "robots": ("/robots", "robots"),
    "labels": ("/labels?scope=g", "labels"),
    "usergroups": ("/usergroups", "user groups"),
    "quotas": ("/quotas", "quotas"),
    "audit": ("/auditlog-exts", "audit log"),
    "audit_oldest": ("/auditlog-exts?sort=op_time", "audit log, oldest first"),
    "audit_of_user": ("/auditlog-exts?q=username%3Dseed-user-0007", "audit log of one person"),
    "project_audit": ("/projects/seed-0001/auditlog-exts", "audit log of a project"),
}


def _add(name: str, path: str, title: str, *, as_person: bool = False) -> None:
    @row(f"rest_{name}", f"{title}, p95 of a page", group="rest", unit="ms", goal=Goal(most=LARGEST), rounds=1)
    def measured(bench: Bench, registry: Registry) -> Measure | None:
        if registry is not bench.ours:
            return None
        stand = seeded()
        return _measure(stand, path, stand.person if as_person else ADMIN)


def _measure(stand: Seeded, path: str, who: Credentials) -> Measure:
    def page(number: int) -> str:
        return f"{path}{'&' if '?' in path else '?'}page_size={PAGE}&page={number}"

    total = int(stand.get(page(1), who)[1]["X-Total-Count"])
    last = max(math.ceil(total / PAGE), 1)
    notes = {"total": float(total)}
    for place, number in (("first", 1), ("middle", (last + 1) // 2), ("last", last)):
        took = sorted(stand.get(page(number), who)[0] for _ in range(ASKED))
        notes[f"{place}_ms"] = round(took[math.ceil(0.95 * ASKED) - 1] * 1000, 1)
    return Measure(value=max(notes["first_ms"], notes["middle_ms"], notes["last_ms"]), notes=notes)


for _name, (_path, _title) in LISTS.items():
    _add(_name, _path, _title)
for _name in ("audit", "projects", "repositories"):
    _add(f"{_name}_of_a_person", LISTS[_name][0], f"{LISTS[_name][1]}, of {_ADMINISTERED} projects", as_person=True)
