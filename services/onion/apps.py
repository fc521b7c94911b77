from django.apps import AppConfig


class OnionConfig(AppConfig):
    name = "services.onion"
