"""Addresses of tunnels, below that of the service."""

from django.urls import path

from services.vpn_coordinator import views

urlpatterns = [
    path("", views.tunnels, name="tunnels"),
    path("tunnels/new", views.new_tunnel, name="new-tunnel"),
    path("tunnels/<int:tunnel_id>", views.tunnel_page, name="tunnel"),
    path("tunnels/<int:tunnel_id>/password", views.tunnel_password, name="tunnel-password"),
    path("tunnels/<int:tunnel_id>/share", views.share_tunnel, name="share-tunnel"),
    path("tunnels/<int:tunnel_id>/require-password", views.guard_tunnel, name="guard-tunnel"),
    path("tunnels/<int:tunnel_id>/stop", views.stop_tunnel, name="stop-tunnel"),
]
