"""`manage.py begin`: everything the panel needs in its database before it starts, in one process.

The supervisor calls it at each start. It answers with one JSON object on standard output:
``{"admin_password": text or null, "join_key": text or null, "panel_key": hexadecimal}``.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fogpanel import env
from nodes import joining
from nodes.identity import AnotherPanel, confirm_identity, panel_identity

FIRST_ADMIN = "admin"
JOIN_KEY_LIFETIME_S = 900


class Command(BaseCommand):
    help = "Migrate the database, make the first admin and a join key for local agents."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--static", action="store_true", help="Collect the static files, too.")
        parser.add_argument("--join", type=int, default=0, help="Make a join key for this many agents.")

    def handle(self, *, static: bool, join: int, **_: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        try:
            confirm_identity()
        except AnotherPanel as problem:
            raise CommandError(str(problem)) from problem
        if static:
            call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        answer = {
            "admin_password": first_admin(),
            "join_key": local_join_key(join) if join else None,
            "panel_key": panel_identity().public_key.hex(),
        }
        self.stdout.write(json.dumps(answer))


def first_admin() -> str | None:
    """Make the first admin where there is no superuser yet; the password it got, else None."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = env.text("FOGPANEL_ADMIN_PASSWORD") or secrets.token_urlsafe(12)
    users.create_superuser(username=FIRST_ADMIN, email="", password=password)
    return password


def local_join_key(uses: int) -> str:
    """A key for the agents that the supervisor starts itself, good for as long as a start takes."""
    _, text = joining.create_join_key(
        actor=None, note="local agents", group=None, labels={}, uses=uses, lifetime_s=JOIN_KEY_LIFETIME_S
    )
    return text
