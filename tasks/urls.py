"""Addresses of the task pages."""

from django.urls import path

from tasks import node_views, views

urlpatterns = [
    path("tasks", views.task_list, name="tasks"),
    path("tasks/new", views.new_task, name="new-task"),
    path("tasks/keys", views.sealed_keys, name="task-keys"),
    path("tasks/preview", views.preview_task, name="task-preview"),
    path("tasks/<int:task_id>", views.task_page, name="task"),
    path("tasks/<int:task_id>/explain", views.explain_task, name="task-explain"),
    path("tasks/<int:task_id>/cancel", views.cancel_task, name="task-cancel"),
    path("tasks/<int:task_id>/retry", views.run_again, name="task-retry"),
    path("tasks/<int:task_id>/log", views.download_log, name="task-log"),
    path("nodes/<int:node_id>/why", node_views.node_why, name="node-why"),
    path("tasks/<int:task_id>/output", views.download_output, name="task-output"),
]
