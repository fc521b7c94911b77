from django.apps import AppConfig


class FogCoordinatorConfig(AppConfig):
    name = "services.fog_coordinator"

    def ready(self) -> None:
        from services.fog_coordinator import live_topics  # noqa: F401  (topics register themselves)
