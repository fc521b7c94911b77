from django.apps import AppConfig


class FogpanelConfig(AppConfig):
    name = "fogpanel"
    verbose_name = "Panel"

    def ready(self) -> None:
        from fogpanel import checks, logs  # noqa: F401  (checks register themselves)

        logs.configure()
