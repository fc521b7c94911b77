from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ServicesConfig(AppConfig):
    name = "services"

    def ready(self) -> None:
        from services import live_topics  # noqa: F401  (topics register themselves)

        # Workers import these anyway. The web must know all jobs too, to say how late each is.
        autodiscover_modules("jobs")
