from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from registry_core import audit, epochs, keys
from registry_core.models import TokenKey

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Sign registry tokens with a new key; those that were issued stay good until they expire."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--revoke", action="store_true", help="the old keys are known to others: refuse their tokens at once"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        key = keys.rotate()
        self.stdout.write(f"signing with {key.kid}")
        text = "rotate token key" + (", revoke those before it" if options["revoke"] else "")
        audit.record(audit.COMMAND, audit.UPDATE, "token_key", key.kid, text)
        if options["revoke"]:
            TokenKey.objects.exclude(kid=key.kid).update(verifies_until=timezone.now())
            epochs.raise_epoch(epochs.EVERYBODY)
            self.stdout.write("tokens of older keys are refused")
