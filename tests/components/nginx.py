"""nginx in front of a registry, as docs/operations.md sets it up: bodies pass unbuffered, files leave by itself."""

from __future__ import annotations

import pathlib

from tests.components import process
from tests.components.availability import require_program

_CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
{user}
worker_processes {workers};
events {{ worker_connections 512; }}
http {{
    log_format sent '$request_method $uri $status file=$upstream_http_x_accel_redirect';
    access_log {directory}/access.log sent;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    sendfile on;
    tcp_nopush on;
    upstream registry {{
        server {upstream};
        {keepalive}
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            proxy_pass http://registry;
            proxy_http_version 1.1;
            {connection}
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Accel-Location /stored/;
        }}
        location /stored/ {{
            internal;
            alias {storage}/;
            etag off;
            add_header Docker-Content-Digest $upstream_http_docker_content_digest;
            add_header Docker-Distribution-Api-Version $upstream_http_docker_distribution_api_version;
            add_header ETag $upstream_http_etag;
        }}
    }}
}}
"""


class Nginx:
    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.directory, self.port = directory, port
        self.host = f"127.0.0.1:{port}"
        self.pid = 0

    def start(
        self, upstream: str, storage: pathlib.Path, *, keepalive: bool = False, workers: str = "1"
    ) -> None:
        """`keepalive`: connections to the registry are used again, by requests of whichever client comes next
        to the same worker."""
        program = require_program("nginx", package="nginx-light", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "nginx.conf"
        # Started as root it would read the files as somebody who may not.
        user = "user root;" if self.directory.owner() == "root" else ""
        configuration.write_text(
            _CONFIGURATION.format(
                directory=self.directory,
                port=self.port,
                upstream=upstream,
                storage=storage,
                user=user,
                workers=workers,
                keepalive="keepalive 4;" if keepalive else "",
                connection='proxy_set_header Connection "";' if keepalive else "",
            )
        )
        server = process.start([program, "-c", configuration], self.directory, name="nginx-started")
        self.pid = server.pid
        log = self.directory / "nginx-started.log"
        process.wait_until(lambda: process.is_listening(self.port), server, log)

    def sent(self) -> list[str]:
        """One line for each request that it has answered."""
        return (self.directory / "access.log").read_text().splitlines()

    def stop(self) -> None:
        process.stop(self.pid)
