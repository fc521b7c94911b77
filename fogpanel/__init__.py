"""The Django project: settings, entry points, and what every app shares."""
