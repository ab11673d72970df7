"""PyPI's `harbor-api-client` (generated from Harbor's OpenAPI file), unchanged: every method of these tags."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import harbor_client
import pytest
from harbor_client import models as m
from harbor_client.rest import ApiException

from api.urls import OPERATIONS
from tests.components.breakwater import ADMIN_PASSWORD, Breakwater
from tests.contract.content import Content, push_content
from tests.reporting import Report

# The clients are older than the libraries that they call.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

APIS = (
    "ArtifactApi", "AuditlogApi", "ConfigureApi", "HealthApi", "IconApi", "LabelApi", "LdapApi", "MemberApi", "OidcApi",
    "PermissionsApi", "PingApi", "ProjectApi", "ProjectMetadataApi", "QuotaApi", "RepositoryApi", "RobotApi",
    "SearchApi", "StatisticApi", "SystemCVEAllowlistApi", "SysteminfoApi", "UserApi", "UsergroupApi",
)  # fmt: skip
LATER = {"get_internalconfig"}  # one of Harbor's back doors for its own services
_called: set[str] = set()


class Client:
    """The methods of all these classes by their names; notes which were called. `id`: of what was just created."""

    def __init__(self, server: Breakwater) -> None:
        configuration = harbor_client.Configuration()
        configuration.host = f"{server.url}/api/v2.0"
        configuration.username, configuration.password = "admin", ADMIN_PASSWORD
        self._client = harbor_client.ApiClient(configuration)
        self._methods = {name: getattr(api(self._client), name) for api in _classes() for name in _methods(api)}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = self._methods[name]
        _called.add(name)
        return method

    @property
    def id(self) -> int:
        headers = self._client.last_response.getheaders()
        return int(headers["Location"].rsplit("/", 1)[1])

    def close(self) -> None:
        self._client.rest_client.pool_manager.clear()


def _classes() -> list[Any]:
    return [getattr(harbor_client, name) for name in APIS]


def _methods(api: Any) -> list[str]:
    return [name for name in vars(api) if not name.startswith("_") and not name.endswith("_with_http_info")]


@pytest.fixture(scope="module")
def harbor(used_server: Breakwater) -> Iterator[Client]:
    client = Client(used_server)
    yield client
    client.close()


@pytest.fixture(scope="module")
def content(used_server: Breakwater) -> Content:
    return push_content(used_server)


def needs(*operations: str) -> None:
    if missing := set(operations) - set(OPERATIONS):
        pytest.skip(f"not built yet: {', '.join(sorted(missing))}")


def kept(sent: Any, got: Any, *but: str) -> None:
    """Every field that was set comes back as it was set."""
    wanted = {name: value for name, value in sent.to_dict().items() if value is not None and name not in but}
    assert wanted
    back = got.to_dict()
    assert {name: back[name] for name in wanted} == wanted


def refused(status: int, call: Callable[[], Any]) -> None:
    with pytest.raises(ApiException) as refusal:
        call()
    assert refusal.value.status == status


def fresh(word: str) -> str:
    return f"{word}-{secrets.token_hex(4)}"


def user_named(name: str) -> Any:
    return m.UserCreationReq(
        username=name, email=f"{name}@example.org", realname=name, comment="made by a test", password="Passw0rd-1x"
    )


# -- people


def test_users(harbor: Client) -> None:
    sent = user_named(fresh("user"))
    harbor.create_user(sent)
    key = harbor.id
    kept(sent, harbor.get_user(key), "password")
    profile = m.UserProfile(email=f"new-{sent.email}", realname="another", comment="changed")
    harbor.update_user_profile(key, profile)
    kept(profile, harbor.get_user(key))
    harbor.set_user_sys_admin(key, m.UserSysAdminFlag(sysadmin_flag=True))
    assert harbor.get_user(key).sysadmin_flag is True
    harbor.update_user_password(key, m.PasswordReq(new_password="0ther-Passw0rd"))
    assert [u.user_id for u in harbor.list_users(q=f"username={sent.username}")] == [key]
    assert [u.user_id for u in harbor.search_users(sent.username)] == [key]
    harbor.delete_user(key)
    refused(404, lambda: harbor.get_user(key))
    refused(412, lambda: harbor.set_cli_secret(1, m.OIDCCliSecretReq(secret="Passw0rd-1x")))


def test_who_am_i(harbor: Client) -> None:
    me = harbor.get_current_user_info()
    assert (me.username, me.user_id, me.sysadmin_flag) == ("admin", 1, True)
    held = {(p.resource, p.action) for p in harbor.get_current_user_permissions(scope="/system")}
    assert ("user", "create") in held
    assert len(held) == 53


def test_groups(harbor: Client) -> None:
    sent = m.UserGroup(group_name=fresh("group"), group_type=3)
    harbor.create_user_group(usergroup=sent)
    key = harbor.id
    kept(sent, harbor.get_user_group(key))
    renamed = m.UserGroup(group_name=fresh("renamed"))
    harbor.update_user_group(key, usergroup=renamed)
    kept(renamed, harbor.get_user_group(key))
    assert [g.id for g in harbor.list_user_groups(group_name=renamed.group_name)] == [key]
    assert [g.id for g in harbor.search_user_groups(renamed.group_name)] == [key]
    harbor.delete_user_group(key)
    refused(404, lambda: harbor.get_user_group(key))


def test_an_oidc_provider(harbor: Client) -> None:
    needs("pingOIDC")
    with pytest.raises(ApiException):
        harbor.ping_oidc(m.Endpoint(url="http://127.0.0.1:1", verify_cert=False))


def test_directories(harbor: Client) -> None:
    """Without one: what the answers say of that. Those of a real directory: ldap_* of the replay."""
    needs("pingLdap", "searchLdapUser", "searchLdapGroup", "importLdapUser")
    where = m.LdapConf(
        ldap_url="ldap://127.0.0.1:1", ldap_base_dn="dc=example,dc=org", ldap_search_dn="cn=x", ldap_search_password="x"
    )
    assert not harbor.ping_ldap(ldapconf=where).success
    calls: list[Callable[[], Any]] = [
        lambda: harbor.search_ldap_user(username="nobody"),
        lambda: harbor.search_ldap_group(groupname="nobody"),
        lambda: harbor.import_ldap_user(m.LdapImportUsers(ldap_uid_list=["nobody"])),
    ]
    for call in calls:
        with pytest.raises(ApiException):
            call()


# -- robots


@pytest.mark.parametrize("level", ["system", "project"])
def test_robots(harbor: Client, content: Content, level: str) -> None:
    kind, namespace, resource = ("system", "/", "label") if level == "system" else ("project", content.project, "tag")
    access = [m.Access(resource=resource, action="delete")]
    sent = m.RobotCreate(
        name=fresh("bot"), level=level, duration=30, description="of a test",
        permissions=[m.RobotPermission(kind=kind, namespace=namespace, access=access)],
    )  # fmt: skip
    made = harbor.create_robot(sent)
    full = f"robot${content.project}+{sent.name}" if level == "project" else f"robot${sent.name}"
    assert (made.name, bool(made.secret)) == (full, True)
    kept(sent, harbor.get_robot_by_id(made.id), "name")
    changed = m.Robot(
        name=full, level=level, duration=-1, description="changed", disable=True, permissions=sent.permissions
    )
    harbor.update_robot(made.id, changed)
    kept(changed, harbor.get_robot_by_id(made.id))
    assert not harbor.refresh_sec(made.id, m.RobotSec(secret="Secret-1234x")).secret
    query = f"Level=project,ProjectID={content.project_id}" if level == "project" else f"name={sent.name}"
    assert made.id in [robot.id for robot in harbor.list_robot(q=query)]
    harbor.delete_robot(made.id)
    refused(404, lambda: harbor.get_robot_by_id(made.id))


def test_what_robots_may_be_given(harbor: Client) -> None:
    permissions = harbor.get_permissions()
    assert (len(permissions.system), len(permissions.project)) == (70, 70)


# -- projects


def test_projects(harbor: Client) -> None:
    name = fresh("project")
    sent = m.ProjectReq(
        project_name=name, storage_limit=1048576,
        metadata=m.ProjectMetadata(public="false", auto_scan="true", severity="high"),
    )  # fmt: skip
    harbor.create_project(sent)
    key = harbor.id
    got = harbor.get_project(name)
    assert (got.project_id, got.name, got.owner_name) == (key, name, "admin")
    kept(sent.metadata, got.metadata)
    changed = m.ProjectReq(metadata=m.ProjectMetadata(public="true", prevent_vul="true"))
    harbor.update_project(name, changed)
    kept(changed.metadata, harbor.get_project(key).metadata)
    harbor.head_project(name)
    assert [p.project_id for p in harbor.list_projects(name=name, public=True)] == [key]
    summary = harbor.get_project_summary(name)
    assert (summary.project_admin_count, summary.quota.hard) == (1, {"storage": 1048576})
    assert harbor.get_project_deletable(name).deletable is True
    harbor.delete_project(name)
    refused(404, lambda: harbor.head_project(name))


def test_scanners(harbor: Client, content: Content) -> None:
    """There is none: the one of a project has no name, there is none to choose, and an absent one is not taken."""
    assert not harbor.get_scanner_of_project(content.project).name
    assert harbor.list_scanner_candidates_of_project(content.project) == []
    harbor.set_scanner_of_project(content.project, m.ProjectScanner(uuid="00000000-0000-0000-0000-000000000000"))
    assert not harbor.get_scanner_of_project(content.project).name


def test_metadata(harbor: Client, content: Content) -> None:
    place = content.project
    harbor.add_project_metadatas(place, metadata={"auto_scan": "true"})
    assert harbor.list_project_metadatas(place)["auto_scan"] == "true"
    harbor.update_project_metadata(place, "auto_scan", metadata={"auto_scan": "false"})
    assert harbor.get_project_metadata(place, "auto_scan") == {"auto_scan": "false"}
    harbor.delete_project_metadata(place, "auto_scan")
    assert "auto_scan" not in harbor.list_project_metadatas(place)


def test_members(harbor: Client, content: Content) -> None:
    place, user = content.project, user_named(fresh("user"))
    harbor.create_user(user)
    entity = m.UserEntity(username=user.username)
    harbor.create_project_member(place, project_member=m.ProjectMember(role_id=2, member_user=entity))
    key = harbor.id
    got = harbor.get_project_member(place, key)
    assert (got.entity_name, got.entity_type, got.role_id, got.role_name) == (user.username, "u", 2, "developer")
    harbor.update_project_member(place, key, role=m.RoleRequest(role_id=4))
    assert harbor.get_project_member(place, key).role_id == 4
    assert key in [member.id for member in harbor.list_project_members(place)]
    harbor.delete_project_member(place, key)
    refused(404, lambda: harbor.get_project_member(place, key))


def test_labels(harbor: Client, content: Content) -> None:
    sent = m.Label(
        name=fresh("label"), description="of a test", color="#FF0000", scope="p", project_id=content.project_id
    )
    harbor.create_label(sent)
    key = harbor.id
    kept(sent, harbor.get_label_by_id(key))
    changed = m.Label(name=fresh("renamed"), description="changed", color="#00FF00")
    harbor.update_label(key, changed)
    kept(changed, harbor.get_label_by_id(key))
    assert key in [label.id for label in harbor.list_labels(scope="p", project_id=content.project_id)]
    where = (content.project, "app", content.digest)
    harbor.add_label(*where, m.Label(id=key))
    assert key in [label.id for label in harbor.get_artifact(*where, with_label=True).labels]
    harbor.remove_label(*where, key)
    assert key not in [label.id for label in harbor.get_artifact(*where, with_label=True).labels or []]
    harbor.delete_label(key)
    refused(404, lambda: harbor.get_label_by_id(key))


# -- content


def test_repositories(harbor: Client, content: Content) -> None:
    place = (content.project, "team%2Fapp")
    harbor.update_repository(*place, m.Repository(description="what it is"))
    got = harbor.get_repository(*place)
    assert (got.name, got.description) == (f"{content.project}/team/app", "what it is")
    assert (got.artifact_count, got.project_id) == (1, content.project_id)
    names = {r.name for r in harbor.list_repositories(content.project)}
    assert {f"{content.project}/app", f"{content.project}/team/app"} <= names
    assert names <= {r.name for r in harbor.list_all_repositories(page_size=100)}
    content.push(f"{content.project}/short-lived")
    harbor.delete_repository(content.project, "short-lived")
    refused(404, lambda: harbor.get_repository(content.project, "short-lived"))


def test_artifacts(harbor: Client, content: Content) -> None:
    where = (content.project, "app", "v1")
    got = harbor.get_artifact(*where)
    assert (got.digest, got.type, [tag.name for tag in got.tags]) == (content.digest, "IMAGE", ["v1"])
    assert content.digest in [a.digest for a in harbor.list_artifacts(content.project, "app")]
    assert content.digest in [a.digest for a in harbor.list_artifacts_of_project(content.project)]
    harbor.create_tag(*where, m.Tag(name="v2"))
    assert {tag.name for tag in harbor.list_tags(*where)} == {"v1", "v2"}
    harbor.delete_tag(*where, "v2")
    assert {tag.name for tag in harbor.list_tags(*where)} == {"v1"}
    (accessory,) = harbor.list_accessories(*where)
    assert (accessory.subject_artifact_digest, accessory.type) == (content.digest, "signature.cosign")
    digest = content.push(f"{content.project}/short-lived")
    harbor.delete_artifact(content.project, "short-lived", digest)
    refused(404, lambda: harbor.get_artifact(content.project, "short-lived", digest))


def test_a_copy(harbor: Client, content: Content) -> None:
    needs("CopyArtifact")
    harbor.copy_artifact(content.project, "copied", f"{content.project}/app@{content.digest}")
    assert harbor.get_artifact(content.project, "copied", content.digest).digest == content.digest


def test_an_addition(harbor: Client, content: Content) -> None:
    needs("getAddition")
    assert "COPY 0" in harbor.get_addition(content.project, "app", "v1", "build_history")
    assert harbor.get_vulnerabilities_addition(content.project, "app", "v1") == "{}"


def test_an_icon(harbor: Client, content: Content) -> None:
    needs("getIcon")
    icon = harbor.get_artifact(content.project, "app", "v1").icon
    assert icon
    assert harbor.get_icon(icon).content_type == "image/png"


# -- the system


def test_the_system(harbor: Client) -> None:
    assert harbor.get_ping() == "Pong"
    health = harbor.get_health()
    assert health.status == "healthy"
    assert {component.status for component in health.components} == {"healthy"}
    info = harbor.get_system_info()
    assert (info.auth_mode, info.read_only, info.self_registration) == ("db_auth", False, False)
    (volume,) = harbor.get_volumes().storage
    assert volume.total >= volume.free > 0
    refused(404, harbor.get_cert)  # there is no CA of its own


def test_statistics_and_search(harbor: Client, content: Content) -> None:
    needs("getStatistic", "search")
    counts = harbor.get_statistic()
    assert counts.total_project_count >= 2
    assert counts.total_repo_count >= 2
    found = harbor.search(content.project)
    assert [p.name for p in found.project] == [content.project]
    assert {r.repository_name for r in found.repository} >= {f"{content.project}/app"}


def test_quotas(harbor: Client, content: Content) -> None:
    needs("listQuotas", "getQuota", "updateQuota")
    (quota,) = harbor.list_quotas(reference="project", reference_id=str(content.project_id))
    sent = m.QuotaUpdateReq(hard={"storage": 10485760})
    harbor.update_quota(quota.id, sent)
    got = harbor.get_quota(quota.id)
    kept(sent, got)
    assert got.used["storage"] > 0


def test_configuration(harbor: Client) -> None:
    needs("getConfigurations", "updateConfigurations")
    sent = {"session_timeout": 61, "robot_token_duration": 31, "banner_message": "closed on Sunday"}
    before = harbor.get_configurations()
    harbor.update_configurations(m.Configurations(**sent))
    got = harbor.get_configurations()
    assert {name: getattr(got, name).value for name in sent} == sent
    harbor.update_configurations(m.Configurations(**{name: getattr(before, name).value for name in sent}))
    assert harbor.get_configurations().session_timeout.value == 60


def test_allowlist(harbor: Client) -> None:
    needs("getSystemCVEAllowlist", "putSystemCVEAllowlist")
    sent = m.CVEAllowlist(items=[m.CVEAllowlistItem(cve_id="CVE-2024-0001")], expires_at=4102444800)
    harbor.put_system_cve_allowlist(allowlist=sent)
    kept(sent, harbor.get_system_cve_allowlist())
    harbor.put_system_cve_allowlist(allowlist=m.CVEAllowlist(items=[]))
    assert harbor.get_system_cve_allowlist().items == []


def test_audit_logs(harbor: Client, content: Content) -> None:
    """The old form is all that this client knows; Harbor writes nothing to it any more."""
    needs("listAuditLogs", "getLogs")
    assert harbor.list_audit_logs() == []
    assert harbor.get_logs(content.project) == []


def test_every_method_was_called(report: Report) -> None:
    methods = {name for api in _classes() for name in _methods(api)}
    report(f"{len(_called)} of {len(methods - LATER)} methods were called; {len(LATER)} come later")
    later = LATER
    if "pingOIDC" not in OPERATIONS:
        later = later | {"ping_oidc"}
    assert methods - later - _called == set()
