"""A small file system that a test fills. It lies in a mount namespace of its own, so that no mount outlives a test: it
goes with the last process in there, however that ends."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess

from tests.components import process
from tests.components.availability import require
from tests.components.postgres import ROOT


class Disk:
    """A tmpfs over `mount_point`, of `size` bytes and with room for `inodes` files.

    Only programs that are started behind `enter` see it there; `path` shows it to everybody else.
    """

    def __init__(self, mount_point: pathlib.Path, *, size: int, inodes: int = 10_000) -> None:
        self.mount_point = mount_point
        mount_point.mkdir(parents=True, exist_ok=True)
        options = f"size={size},nr_inodes={inodes},mode=0755"
        mount = f"mount -t tmpfs -o {options} tmpfs {shlex.quote(str(mount_point))}"
        # The death signal is for a test run that is killed: the namespace ends with it.
        holder = process.start(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
             "sh", "-c", f"{mount} && exec sleep infinity"],
            ROOT, name=f"{mount_point.name}-disk", logs=mount_point.parent,
        )  # fmt: skip
        self.pid = holder.pid
        self._mounts = pathlib.Path(f"/proc/{self.pid}/mounts")
        log = mount_point.parent / f"{mount_point.name}-disk.log"
        try:
            process.wait_until(self._is_mounted, holder, log)
        except RuntimeError as e:
            require(f"a tmpfs of its own ({e})", found=False, install="nothing, and run as root: mount needs it")
        self.path = pathlib.Path(f"/proc/{self.pid}/root{mount_point}")
        self._filler = self.path / ".filler"

    def _is_mounted(self) -> bool:
        return f"tmpfs {self.mount_point} tmpfs" in self._mounts.read_text()

    @property
    def enter(self) -> list[str]:
        """Goes before a command that is to find the file system at its mount point."""
        return ["nsenter", f"--target={self.pid}", "--mount", f"--wd={ROOT}", "--"]

    def free(self) -> int:
        """Bytes."""
        now = os.statvfs(self.path)
        return now.f_bavail * now.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """Nothing but `leave` bytes is free afterwards."""
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while (left := self.free() - leave) > 0:
                filler.write(bytes(min(left, 1 << 20)))

    def use_up_inodes(self) -> None:
        """Not one more file can be made."""
        directory = self.path / ".fillers"
        directory.mkdir()
        for number in range(os.statvfs(self.path).f_ffree):
            (directory / str(number)).touch()

    def make_room(self) -> None:
        """What `fill` and `use_up_inodes` took is free again."""
        self._filler.unlink(missing_ok=True)
        for file in (self.path / ".fillers").glob("*"):
            file.unlink()
        with contextlib.suppress(FileNotFoundError):
            (self.path / ".fillers").rmdir()

    def run(self, *command: str) -> None:
        subprocess.run([*self.enter, *command], check=True, capture_output=True)

    def remove(self) -> None:
        process.stop(self.pid, signal.SIGKILL)
