from django.apps import AppConfig


class VpnCoordinatorConfig(AppConfig):
    name = "services.vpn_coordinator"

    def ready(self) -> None:
        from services.vpn_coordinator import (  # noqa: F401  (topics and signals register themselves)
            access_changes,
            live_topics,
            private_live,
        )
