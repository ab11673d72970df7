"""Client programs, run as a person runs them: the real binary, its exit status, what it prints."""

from __future__ import annotations

import os
import pathlib
import subprocess
from dataclasses import dataclass, field

REFUSALS = ("unauthorized", "denied", "forbidden", "401", "403", "invalid username/password")


@dataclass(frozen=True)
class Client:
    """One program with the directory in which it keeps its logins, never the user's own."""

    program: str
    home: pathlib.Path
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()  # before every command

    def _environment(self) -> dict[str, str]:
        home = {"HOME": str(self.home), "DOCKER_CONFIG": str(self.home / ".docker")}
        return {**os.environ, **home, "XDG_RUNTIME_DIR": str(self.home), **self.environment}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Left running, its output in one pipe."""
        return subprocess.Popen(
            [self.program, *self.options, *arguments],
            env=self._environment(),
            cwd=self.home,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def try_run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """stdout and stderr together: people read both."""
        return subprocess.run(
            [self.program, *self.options, *arguments],
            env=self._environment(),
            cwd=self.home,
            input=stdin,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=180,
        )

    def run(self, *arguments: str, stdin: str = "") -> str:
        done = self.try_run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(map(str, done.args))}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def run_refused(self, *arguments: str, stdin: str = "") -> str:
        """The command must fail, and must say that it was a refusal."""
        done = self.try_run(*arguments, stdin=stdin)
        assert done.returncode != 0, f"{' '.join(map(str, done.args))} was not refused:\n{done.stdout}"
        said = done.stdout.lower()
        assert any(word in said for word in REFUSALS), done.stdout
        return done.stdout
