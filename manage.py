#!/usr/bin/env python3
"""`manage.py up` supervises a whole registry on this machine; every other command is Django's."""

import os
import sys

from config.embedded import use_embedded_servers
from config.environment import ConfigurationError


def main() -> int:
    if sys.argv[1:2] == ["up"]:
        # The supervisor lives as long as the registry does: it never imports Django, to stay small.
        from config.supervisor import main as supervise

        return supervise(sys.argv[2:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    try:
        use_embedded_servers()
        execute_from_command_line(sys.argv)
    except ConfigurationError as e:
        sys.stderr.write(f"breakwater: {e}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
