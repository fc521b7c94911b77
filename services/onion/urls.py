"""Addresses of the service's own pages, below that of the service."""

from django.urls import path

from services.onion import views

urlpatterns = [
    path("circuits", views.node_circuits, name="onion-circuits"),
    path("relays", views.relay_list, name="onion-relays"),
]
