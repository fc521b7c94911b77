"""The panel's own Ed25519 identity, which agents pin. One key in the data folder, made on first use.

Several hosts of one panel have the same file. A host with another key would be an impostor to all
agents, so the database remembers the public half, and no host is prepared that does not hold it.
"""

from __future__ import annotations

from functools import cache

from django.conf import settings

from fogagent.identity import Identity
from fogpanel.models import PanelIdentity

KEY_FILE = "panel.key"


class AnotherPanel(Exception):
    """This host does not hold the key of the panel whose database it uses. ``str`` says what to do."""


@cache
def panel_identity() -> Identity:
    return Identity.load_or_create(settings.DATA_DIR / KEY_FILE)


def confirm_identity() -> None:
    """Make sure that this host is the panel which agents know; the first host decides who that is.

    Raises:
        AnotherPanel: the key is missing here or is another one.
    """
    path = settings.DATA_DIR / KEY_FILE
    known = PanelIdentity.objects.filter(id=1).first()
    if known is None:
        own = panel_identity().public_key.hex()
        known, _ = PanelIdentity.objects.get_or_create(id=1, defaults={"public_key": own})
    if not path.exists() or panel_identity().public_key.hex() != known.public_key:
        raise AnotherPanel(
            f"The agents of this panel know another key than {path}: copy {KEY_FILE} and secret_key "
            "from the data folder of the panel's first host, and do this again."
        )
