from django.apps import AppConfig


class BreakwaterConfig(AppConfig):
    name = "config"
    label = "config"

    def ready(self) -> None:
        from config import wiring

        wiring.connect()
