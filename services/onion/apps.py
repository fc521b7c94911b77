from django.apps import AppConfig


class OnionConfig(AppConfig):
    name = "services.onion"

    def ready(self) -> None:
        from services.onion import live_topics  # noqa: F401  (topics register themselves)
