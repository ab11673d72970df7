"""PyPI's `harborapi`, unchanged, drives every operation that it knows; each field that it set comes back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harborapi import HarborAsyncClient
from harborapi import models as m
from harborapi.exceptions import HarborAPIException, NotFound

from api.urls import OPERATIONS
from tests.components.breakwater import ADMIN_PASSWORD, Breakwater
from tests.contract.content import Content, push_content
from tests.reporting import Report

# The clients are older than the libraries that they call.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# Methods of the client that belong to tags with an issue of their own, by what their names hold.
LATER = ("gc_", "scan", "replication", "purge", "audit_log_rotation", "webhook", "registr", "retention", "immutable",
         "vulnerabilit")  # fmt: skip
# Of an API that Harbor itself has no more, or the client's own plumbing.
NOT_HARBORS = {"get", "get_text", "get_file", "post", "put", "patch", "delete", "head"}
_called: set[str] = set()


class Client:
    """The client's methods as plain functions; notes which were called."""

    def __init__(self, client: HarborAsyncClient, runner: asyncio.Runner) -> None:
        self._client, self._runner = client, runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        _called.add(name)
        method = getattr(self._client, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            return await method(*arguments, **named)

        return lambda *arguments, **named: self._runner.run(call(*arguments, **named))


@pytest.fixture(scope="module")
def harbor(used_server: Breakwater) -> Iterator[Client]:
    with asyncio.Runner() as runner:

        async def connect() -> HarborAsyncClient:
            return HarborAsyncClient(f"{used_server.url}/api/v2.0", "admin", ADMIN_PASSWORD)

        client = runner.run(connect())
        yield Client(client, runner)
        runner.run(client.client.aclose())


@pytest.fixture(scope="module")
def content(used_server: Breakwater) -> Content:
    return push_content(used_server)


def needs(*operations: str) -> None:
    if missing := set(operations) - set(OPERATIONS):
        pytest.skip(f"not built yet: {', '.join(sorted(missing))}")


def kept(sent: Any, got: Any, *but: str) -> None:
    """Every field that was set comes back as it was set."""
    fields = sent.model_fields_set - set(but)
    assert fields
    assert {name: getattr(got, name) for name in fields} == {name: getattr(sent, name) for name in fields}


def number(location: str) -> int:
    return int(location.rsplit("/", 1)[1])


def fresh(word: str) -> str:
    return f"{word}-{secrets.token_hex(4)}"


def user_named(name: str) -> m.UserCreationReq:
    return m.UserCreationReq(
        username=name, email=f"{name}@example.org", realname=name, comment="made by a test", password="Passw0rd-1x"
    )


# -- people


def test_users(harbor: Client) -> None:
    sent = user_named(fresh("user"))
    key = number(harbor.create_user(sent))
    kept(sent, harbor.get_user(key), "password")
    assert harbor.get_user_by_username(sent.username).user_id == key
    profile = m.UserProfile(email=f"new-{sent.email}", realname="another", comment="changed")
    harbor.update_user(key, profile)
    kept(profile, harbor.get_user(key))
    harbor.set_user_admin(key, True)
    assert harbor.get_user(key).sysadmin_flag is True
    harbor.set_user_password(key, "0ther-Passw0rd")
    assert [u.username for u in harbor.get_users(query=f"username={sent.username}")] == [sent.username]
    assert [u.user_id for u in harbor.search_users_by_username(sent.username)] == [key]
    harbor.delete_user(key)
    with pytest.raises(NotFound):
        harbor.get_user(key)
    with pytest.raises(HarborAPIException):  # only where people sign in by OIDC
        harbor.set_user_cli_secret(1, "Passw0rd-1x")


def test_who_am_i(harbor: Client) -> None:
    me = harbor.get_current_user()
    assert (me.username, me.user_id, me.sysadmin_flag) == ("admin", 1, True)
    held = {(p.resource, p.action) for p in harbor.get_current_user_permissions("/system")}
    assert ("user", "create") in held
    assert len(held) == 53


def test_groups(harbor: Client) -> None:
    sent = m.UserGroup(group_name=fresh("group"), group_type=3)
    key = number(harbor.create_usergroup(sent))
    kept(sent, harbor.get_usergroup(key))
    renamed = m.UserGroup(group_name=fresh("renamed"))
    harbor.update_usergroup(key, renamed)
    kept(renamed, harbor.get_usergroup(key))
    assert [g.id for g in harbor.get_usergroups(group_name=renamed.group_name)] == [key]
    assert [g.group_name for g in harbor.search_usergroups(renamed.group_name)] == [renamed.group_name]
    harbor.delete_usergroup(key)
    with pytest.raises(NotFound):
        harbor.get_usergroup(key)


def test_an_oidc_provider(harbor: Client) -> None:
    needs("pingOIDC")
    with pytest.raises(HarborAPIException):
        harbor.test_oidc(m.OIDCTestReq(url="http://127.0.0.1:1", verify_cert=False))


def test_directories(harbor: Client) -> None:
    """Without one: what the answers say of that. Those of a real directory: ldap_* of the replay."""
    needs("pingLdap", "searchLdapUser", "searchLdapGroup", "importLdapUser")
    where = m.LdapConf(
        ldap_url="ldap://127.0.0.1:1", ldap_base_dn="dc=example,dc=org", ldap_search_dn="cn=x", ldap_search_password="x"
    )
    result = harbor.ping_ldap(where)
    assert result.success is not True
    assert result.message
    calls: list[Callable[[], Any]] = [
        lambda: harbor.search_ldap_users("nobody"),
        lambda: harbor.search_ldap_groups(group_name="nobody"),
        lambda: harbor.import_ldap_users(["nobody"]),
    ]
    for call in calls:
        with pytest.raises(HarborAPIException):
            call()


# -- robots


def grant(kind: str, namespace: str, *pairs: str) -> m.RobotPermission:
    access = [m.Access(resource=r, action=a) for r, _, a in (pair.partition(":") for pair in pairs)]
    return m.RobotPermission(kind=kind, namespace=namespace, access=access)


@pytest.mark.parametrize("level", ["system", "project"])
def test_robots(harbor: Client, content: Content, level: str) -> None:
    place = ("system", "/", "label:read") if level == "system" else ("project", content.project, "repository:pull")
    sent = m.RobotCreate(
        name=fresh("bot"), level=level, duration=30, description="of a test", permissions=[grant(*place)]
    )
    made = harbor.create_robot(sent)
    full = f"robot${content.project}+{sent.name}" if level == "project" else f"robot${sent.name}"
    assert (made.name, bool(made.secret)) == (full, True)
    got = harbor.get_robot(made.id)
    kept(sent, got, "name", "permissions")
    assert got.name == full
    assert [p.model_dump(exclude_none=True) for p in got.permissions] == [
        grant(*place).model_dump(exclude_none=True)
    ]
    changed = m.Robot(
        name=full, level=level, duration=-1, description="changed", disable=True, permissions=[grant(*place)]
    )
    harbor.update_robot(made.id, changed)
    kept(changed, harbor.get_robot(made.id), "permissions")
    assert harbor.refresh_robot_secret(made.id, "Secret-1234x").secret in (None, "")
    query = f"Level=project,ProjectID={content.project_id}" if level == "project" else None
    assert made.id in [robot.id for robot in harbor.get_robots(query=query)]
    harbor.delete_robot(made.id)
    with pytest.raises(NotFound):
        harbor.get_robot(made.id)


def test_what_robots_may_be_given(harbor: Client) -> None:
    permissions = harbor.get_permissions()
    assert (len(permissions.system), len(permissions.project)) == (70, 70)


# -- projects


def test_projects(harbor: Client) -> None:
    name = fresh("project")
    sent = m.ProjectReq(
        project_name=name,
        storage_limit=1048576,
        metadata=m.ProjectMetadata(public="false", auto_scan="true", severity="high"),
    )
    assert harbor.create_project(sent).rsplit("/", 1)[1] == name
    assert harbor.project_exists(name) is True
    assert harbor.project_exists(fresh("absent")) is False
    got = harbor.get_project(name)
    assert (got.name, got.owner_name) == (name, "admin")
    kept(sent.metadata, got.metadata)
    changed = m.ProjectReq(metadata=m.ProjectMetadata(public="true", prevent_vul="true"))
    harbor.update_project(got.project_id, changed)
    kept(changed.metadata, harbor.get_project(name).metadata)
    assert [p.name for p in harbor.get_projects(name=name, public=True)] == [name]
    summary = harbor.get_project_summary(name)
    assert summary.project_admin_count == 1
    assert summary.quota.hard.root == {"storage": 1048576}
    assert harbor.get_project_deletable(name).deletable is True
    harbor.delete_project(name)
    assert harbor.project_exists(name) is False


def test_metadata(harbor: Client, content: Content) -> None:
    place = content.project
    harbor.set_project_metadata(place, m.ProjectMetadata(auto_scan="true"))
    assert harbor.get_project_metadata(place).auto_scan == "true"
    harbor.update_project_metadata_entry(place, "auto_scan", m.ProjectMetadata(auto_scan="false"))
    assert harbor.get_project_metadata_entry(place, "auto_scan") == {"auto_scan": "false"}
    harbor.delete_project_metadata_entry(place, "auto_scan")
    assert harbor.get_project_metadata(place).auto_scan is None


def test_members(harbor: Client, content: Content) -> None:
    place, user, other = content.project, user_named(fresh("user")), user_named(fresh("user"))
    harbor.create_user(user)
    key = number(harbor.create_user(other))
    first = number(harbor.add_project_member_user(place, user.username, 2))
    got = harbor.get_project_member(place, first)
    assert (got.entity_name, got.entity_type, got.role_id, got.role_name) == (user.username, "u", 2, "developer")
    second = number(
        harbor.add_project_member(place, m.ProjectMember(role_id=3, member_user=m.UserEntity(user_id=key)))
    )
    harbor.update_project_member_role(place, second, 4)
    assert harbor.get_project_member(place, second).role_id == 4
    group = number(harbor.create_usergroup(m.UserGroup(group_name=fresh("group"), group_type=3)))
    third = number(harbor.add_project_member_group(place, group, 5))
    assert harbor.get_project_member(place, third).entity_type == "g"
    assert {first, second, third} <= {member.id for member in harbor.get_project_members(place)}
    for member in (first, second, third):
        harbor.remove_project_member(place, member)
        with pytest.raises(NotFound):
            harbor.get_project_member(place, member)


def test_labels(harbor: Client, content: Content) -> None:
    sent = m.Label(
        name=fresh("label"), description="of a test", color="#FF0000", scope="p", project_id=content.project_id
    )
    key = number(harbor.create_label(sent))
    kept(sent, harbor.get_label(key))
    changed = m.Label(name=fresh("renamed"), description="changed", color="#00FF00")
    harbor.update_label(key, changed)
    kept(changed, harbor.get_label(key))
    assert key in [label.id for label in harbor.get_labels(scope="p", project_id=content.project_id)]
    where = (content.project, "app", content.digest)
    harbor.add_artifact_label(*where, m.Label(id=key))
    assert key in [label.id for label in harbor.get_artifact(*where, with_label=True).labels]
    harbor.delete_artifact_label(*where, key)
    assert key not in [label.id for label in harbor.get_artifact(*where, with_label=True).labels or []]
    harbor.delete_label(key)
    with pytest.raises(NotFound):
        harbor.get_label(key)


# -- content


def test_repositories(harbor: Client, content: Content) -> None:
    harbor.update_repository(content.project, "team/app", m.Repository(description="what it is"))
    got = harbor.get_repository(content.project, "team/app")
    assert (got.name, got.description) == (f"{content.project}/team/app", "what it is")
    assert (got.artifact_count, got.project_id) == (1, content.project_id)
    names = [r.name for r in harbor.get_repositories(content.project)]
    assert {f"{content.project}/app", f"{content.project}/team/app"} <= set(names)
    assert set(names) <= {r.name for r in harbor.get_repositories(limit=1000)}
    content.push(f"{content.project}/short-lived")
    harbor.delete_repository(content.project, "short-lived")
    with pytest.raises(NotFound):
        harbor.get_repository(content.project, "short-lived")


def test_artifacts(harbor: Client, content: Content) -> None:
    where = (content.project, "app", "v1")
    got = harbor.get_artifact(*where)
    assert (got.digest, got.type, [tag.name for tag in got.tags]) == (content.digest, "IMAGE", ["v1"])
    assert content.digest in [a.digest for a in harbor.get_artifacts(content.project, "app")]
    assert content.digest in [a.digest for a in harbor.get_project_artifacts(content.project)]
    harbor.create_artifact_tag(*where, m.Tag(name="v2"))
    assert {tag.name for tag in harbor.get_artifact_tags(*where)} == {"v1", "v2"}
    harbor.delete_artifact_tag(*where, "v2")
    assert {tag.name for tag in harbor.get_artifact_tags(*where)} == {"v1"}
    (accessory,) = harbor.get_artifact_accessories(*where)
    assert (accessory.subject_artifact_digest, accessory.type) == (content.digest, "signature.cosign")
    digest = content.push(f"{content.project}/short-lived")
    harbor.delete_artifact(content.project, "short-lived", digest)
    with pytest.raises(NotFound):
        harbor.get_artifact(content.project, "short-lived", digest)


def test_a_copy(harbor: Client, content: Content) -> None:
    needs("CopyArtifact")
    harbor.copy_artifact(content.project, "copied", f"{content.project}/app@{content.digest}")
    assert harbor.get_artifact(content.project, "copied", content.digest).digest == content.digest


def test_a_build_history(harbor: Client, content: Content) -> None:
    needs("getAddition")
    history = harbor.get_artifact_build_history(content.project, "app", "v1")
    assert [entry.created_by for entry in history] == ["COPY 0"]


def test_an_icon(harbor: Client, content: Content) -> None:
    needs("getIcon")
    icon = harbor.get_artifact(content.project, "app", "v1").icon
    assert icon
    assert harbor.get_icon(icon).content_type == "image/png"


# -- the system


def test_the_system(harbor: Client) -> None:
    assert harbor.ping() == "Pong"
    health = harbor.health_check()
    assert health.status == "healthy"
    assert {component.status for component in health.components} == {"healthy"}
    info = harbor.get_system_info()
    assert (info.auth_mode, info.read_only, info.self_registration) == ("db_auth", False, False)
    (volume,) = harbor.get_system_volume_info().storage
    assert volume.total >= volume.free > 0
    # There is no CA of its own; this client looks at no status of a file.
    assert b"NOT_FOUND" in bytes(harbor.get_system_certificate())


def test_statistics_and_search(harbor: Client, content: Content) -> None:
    needs("getStatistic", "search")
    counts = harbor.get_statistics()
    assert counts.total_project_count >= 2
    assert counts.total_repo_count >= 2
    found = harbor.search(content.project)
    assert [p.name for p in found.project] == [content.project]
    assert {r.repository_name for r in found.repository} >= {f"{content.project}/app"}


def test_quotas(harbor: Client, content: Content) -> None:
    needs("listQuotas", "getQuota", "updateQuota")
    (quota,) = harbor.get_quotas(reference="project", reference_id=str(content.project_id))
    sent = m.QuotaUpdateReq(hard=m.ResourceList({"storage": 10485760}))
    harbor.update_quota(quota.id, sent)
    got = harbor.get_quota(quota.id)
    kept(sent, got)
    assert got.used.root["storage"] > 0
    assert got.ref.root["name"] == content.project


def test_configuration(harbor: Client) -> None:
    needs("getConfigurations", "updateConfigurations")
    sent = m.Configurations(session_timeout=61, robot_token_duration=31, banner_message="closed on Sunday")
    before = harbor.get_config()
    harbor.update_config(sent)
    got = harbor.get_config()
    assert {name: getattr(got, name).value for name in sent.model_fields_set} == sent.model_dump(exclude_unset=True)
    harbor.update_config(m.Configurations(**{name: getattr(before, name).value for name in sent.model_fields_set}))
    assert harbor.get_config().session_timeout.value == 60


def test_allowlist(harbor: Client) -> None:
    needs("getSystemCVEAllowlist", "putSystemCVEAllowlist")
    sent = m.CVEAllowlist(items=[m.CVEAllowlistItem(cve_id="CVE-2024-0001")], expires_at=4102444800)
    harbor.update_cve_allowlist(sent)
    kept(sent, harbor.get_cve_allowlist())
    harbor.update_cve_allowlist(m.CVEAllowlist(items=[]))
    assert harbor.get_cve_allowlist().items == []


def test_audit_logs(harbor: Client, content: Content) -> None:
    """The old form is all that this client knows; Harbor writes nothing to it any more."""
    needs("listAuditLogs", "getLogs")
    assert harbor.get_audit_logs(limit=5) == []
    assert harbor.get_project_logs(content.project, limit=5) == []


def test_every_method_was_called(report: Report) -> None:
    methods = {
        name
        for name in vars(HarborAsyncClient)
        if asyncio.iscoroutinefunction(getattr(HarborAsyncClient, name)) and not name.startswith("_")
    }
    wanted = {
        name
        for name in methods - NOT_HARBORS
        if not name.endswith("_v1") and not any(word in name for word in LATER)
    }
    report(f"{len(_called & wanted)} of {len(wanted)} methods were called; {len(methods - wanted)} belong elsewhere")
    if "pingOIDC" not in OPERATIONS:
        wanted -= {"test_oidc"}
    assert wanted - _called == set()
