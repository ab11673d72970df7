from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Fill an empty registry with projects, repositories, artifacts and audit rows, for tests and benchmarks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        from config.seeding import MANY

        parser.add_argument("--projects", type=int, default=1, metavar="N", help="each with an administrator")
        parser.add_argument("--repos", type=int, default=1, metavar="N", help="in each project, with an image each")
        parser.add_argument("--artifacts", type=int, default=0, metavar="N", help=f"in the repository {MANY}")
        parser.add_argument("--tags", type=int, default=0, metavar="N", help=f"on the artifacts of {MANY}")
        parser.add_argument("--audit", type=int, default=0, metavar="N", help="rows of the audit log, over a year")

    def handle(self, *args: Any, **options: Any) -> None:
        # Models can be imported once the commands are being run, not while they are being listed.
        from config import seeding

        size = seeding.Size(*(options[name] for name in ("projects", "repos", "artifacts", "tags", "audit")))
        if min(size) < 0 or not size.projects or not size.repos or (size.tags and not size.artifacts):
            raise CommandError("Give at least a project and a repository, and tags only with artifacts.")
        if seeding.is_seeded():
            raise CommandError(f"The project {seeding.FIRST} is there already; seed an empty registry.")
        seeding.seed(size)
        self.stdout.write(
            f"{size.projects} projects, {size.projects * size.repos} repositories, {size.artifacts} artifacts and "
            f"{size.tags} tags in {seeding.MANY}, {size.audit} audit rows"
        )
