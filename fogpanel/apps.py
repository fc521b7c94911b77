from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class PanelAdminConfig(AdminConfig):
    default_site = "fogpanel.admin_site.PanelAdminSite"


class FogpanelConfig(AppConfig):
    name = "fogpanel"
    verbose_name = "Panel"

    def ready(self) -> None:
        from fogpanel import access, checks, idempotency, logs  # noqa: F401  (checks and jobs register themselves)

        post_migrate.connect(access.create_groups, sender=self)
        logs.configure()
