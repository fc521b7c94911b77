from django.urls import include, path
from django.views.generic import RedirectView

from services import metrics, views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="control-panel"), name="home"),
    path("control-panel", views.control_panel, name="control-panel"),
    path("services/fog_coordinator/", include("services.fog_coordinator.urls")),
    path("services/onion/", include("services.onion.urls")),
    path("services/vpn_coordinator/", include("services.vpn_coordinator.urls")),
    path("services/<slug:slug>/control", views.control_service, name="service-control"),
    path("services/<slug:slug>/", views.service_page, name="service"),
    path("metrics", metrics.metrics, name="metrics"),
    path("health", views.health, name="health"),
]
