from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from registry_core import audit, configuration, errors
from registry_core.setting_items import ITEMS

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Show or change a system setting: `manage.py setting allow_sparse true`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", choices=sorted(ITEMS))
        parser.add_argument("value", nargs="?", help='JSON (true, 30, "text") or plain text')

    def handle(self, *args: Any, **options: Any) -> None:
        name, text = options["name"], options["value"]
        if text is not None:
            try:
                value = json.loads(text)
            except ValueError:
                value = text
            try:
                with transaction.atomic():
                    configuration.set_values({name: value})
                    text = f"update configuration: {name}"
                    audit.record(audit.COMMAND, audit.UPDATE, "configuration", "configuration", text)
            except errors.RegistryError as e:
                raise CommandError(e.message) from e
        shown = configuration.get(name)
        if ITEMS[name].is_secret and shown:
            shown = "(a secret, not shown)"
        self.stdout.write(f"{name} = {json.dumps(shown)}")
