"""Addresses of the coordinator's own pages, below that of the service."""

from django.urls import path

from services.fog_coordinator import views

urlpatterns = [
    path("topology", views.topology, name="coordinator-topology"),
    path("what-if", views.what_if_page, name="what-if"),
]
