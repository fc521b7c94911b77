"""The Django project: settings, entry points, and what every app shares."""

from fogpanel.celery import app as celery_app

__all__ = ["celery_app"]
