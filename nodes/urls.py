"""Addresses of the node pages."""

from django.urls import path

from nodes import views

urlpatterns = [
    path("nodes", views.node_list, name="nodes"),
    path("nodes/add", views.add_node, name="add-node"),
    path("nodes/<int:node_id>", views.node_page, name="node"),
    path("nodes/<int:node_id>/drain", views.drain_node, name="node-drain"),
    path("nodes/<int:node_id>/availability", views.change_availability, name="node-availability"),
    path("nodes/<int:node_id>/approve", views.approve_node, name="node-approve"),
    path("nodes/<int:node_id>/remove", views.remove_node, name="node-remove"),
    path("join-keys/<int:key_id>/joined", views.joined_with, name="join-key-joined"),
    path("join-keys/<int:key_id>/revoke", views.revoke_key, name="join-key-revoke"),
    path("agent/<str:filename>", views.agent_wheel, name="agent-wheel"),
]
