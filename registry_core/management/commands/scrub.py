from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from registry_core.scrub import scrub

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Prove that every byte in storage has its row and every row its bytes; exit 1 if not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--verify", type=float, default=0, metavar="PERCENT", help="also read this share of the blobs"
        )
        parser.add_argument(
            "--condemn-orphans", action="store_true", help="delete bytes that no row accounts for"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        report = scrub(percent=options["verify"], condemn_orphans=options["condemn_orphans"])
        for finding in report.findings:
            self.stdout.write(f"{finding.kind:12} {finding.key}  {finding.what}")
        verdict = "clean" if report.is_clean else f"{len(report.findings)} findings"
        self.stdout.write(
            f"scrub: {verdict}; {report.objects} objects, {report.bytes} bytes, {report.verified} verified"
        )
        if not report.is_clean:
            sys.exit(1)
