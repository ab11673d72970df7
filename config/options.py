"""What the environment asks of `manage.py up`, checked before anything is started."""

import os
import socket
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from config.admin_password import given_admin_password
from config.environment import ConfigurationError, env_int, env_list, env_secret, env_str


@dataclass(frozen=True)
class Options:
    home: Path
    host: str
    port: int
    external_urls: tuple[str, ...]
    tls_cert: str
    tls_key: str
    storage: str
    database_url: str  # "" = embedded
    redis_url: str  # "" = embedded
    secret_key: str  # "" = made in HOME
    admin_password: str  # "" = random
    workers: int

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"

    @property
    def address(self) -> str:
        return url_of("", self.host, self.port).removeprefix("://")

    @property
    def local_address(self) -> tuple[str, int]:
        """Where this machine reaches the server."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port  # noqa: S104

    @property
    def local_url(self) -> str:
        return url_of(self.scheme, *self.local_address)


def url_of(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def read_options() -> Options:
    host, port = parse_address(env_str("BREAKWATER_ADDR") or "127.0.0.1:8080")
    home = Path(env_str("BREAKWATER_HOME") or "./.breakwater").absolute()
    cert, key = _tls_files()
    options = Options(
        home=home,
        host=host,
        port=port,
        external_urls=_external_urls("https" if cert else "http", host, port),
        tls_cert=cert,
        tls_key=key,
        storage=env_str("BREAKWATER_STORAGE") or f"file://{home}/storage",
        database_url=_server_url(
            "DATABASE_URL", ("postgres", "postgresql"), "postgresql://user@host:5432/name"
        ),
        redis_url=_server_url("REDIS_URL", ("redis", "rediss"), "redis://host:6379/0"),
        secret_key=env_secret("BREAKWATER_SECRET_KEY"),
        admin_password=given_admin_password(),
        workers=env_int("BREAKWATER_WORKERS", 0) or os.cpu_count() or 1,
    )
    if options.database_url and not options.secret_key:
        raise ConfigurationError(
            "DATABASE_URL names a server of your own, so BREAKWATER_SECRET_KEY (or its _FILE)"
            " must be set: every process of this registry needs the same key. "
            "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    return options


def parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationError(f"BREAKWATER_ADDR must look like 127.0.0.1:8080, not {text!r}.")
    return host, int(port)


def check_address_is_free(options: Options) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the web server binds: a connection of the last run that still lingers is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as e:
        raise ConfigurationError(
            f"Cannot listen on {options.address}: {_reason(e)}. Set BREAKWATER_ADDR to a free address."
        ) from e


def prepare_directories(options: Options) -> None:
    """HOME with run/ and logs/, and the storage directory; each must take a file."""
    wanted = [options.home, options.home / "run", options.home / "logs"]
    if options.storage.startswith("file://"):
        wanted.append(Path(options.storage.removeprefix("file://")))
    for directory in wanted:
        probe = directory / f".writable-{os.getpid()}"
        try:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as e:
            variable = "BREAKWATER_HOME" if directory.is_relative_to(options.home) else "BREAKWATER_STORAGE"
            raise ConfigurationError(
                f"The directory {directory} cannot be written: {_reason(e)}. Set {variable} to one that can."
            ) from e


def _external_urls(scheme: str, host: str, port: int) -> tuple[str, ...]:
    urls = tuple(url.rstrip("/") for url in env_list("BREAKWATER_EXTERNAL_URL"))
    for url in urls:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
            raise ConfigurationError(
                f"BREAKWATER_EXTERNAL_URL must look like https://registry.example.com, not {url!r}."
            )
    return urls or (url_of(scheme, host, port),)


def _server_url(name: str, schemes: tuple[str, ...], example: str) -> str:
    url = env_secret(name)
    if not url:
        return ""
    parts = urllib.parse.urlsplit(url)
    try:
        has_server = bool(parts.hostname or "host=" in parts.query) and parts.port != 0
    except ValueError:
        has_server = False
    if parts.scheme not in schemes or not has_server or (name == "DATABASE_URL" and len(parts.path) < 2):
        # The value is not repeated: it may hold a password.
        raise ConfigurationError(f"{name} must look like {example}.")
    return url


def _tls_files() -> tuple[str, str]:
    cert, key = env_str("BREAKWATER_TLS_CERT"), env_str("BREAKWATER_TLS_KEY")
    if bool(cert) != bool(key):
        missing = "BREAKWATER_TLS_KEY" if cert else "BREAKWATER_TLS_CERT"
        raise ConfigurationError(f"{missing} is not set: HTTPS needs both a certificate and its key.")
    if not cert:
        return "", ""
    texts = {}
    for name, path in (("BREAKWATER_TLS_CERT", cert), ("BREAKWATER_TLS_KEY", key)):
        try:
            texts[name] = Path(path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigurationError(f"{name} names {path}, which cannot be read: {_reason(e)}.") from e
    if "-----BEGIN CERTIFICATE-----" not in texts["BREAKWATER_TLS_CERT"]:
        raise ConfigurationError(f"BREAKWATER_TLS_CERT names {cert}, which holds no PEM certificate.")
    if "-----BEGIN PRIVATE KEY-----" not in texts["BREAKWATER_TLS_KEY"]:
        raise ConfigurationError(
            f"BREAKWATER_TLS_KEY names {key}, which is not an unencrypted PKCS#8 key. Convert it with: "
            f"openssl pkcs8 -topk8 -nocrypt -in {key} -out {key}.pkcs8"
        )
    return str(Path(cert).absolute()), str(Path(key).absolute())


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
