"""The peer of `bench heartbeats`: a bare Channels consumer of frames, which stores nothing."""

from __future__ import annotations

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from fogpanel.open_files import allow_many

settings.configure()
django.setup()
allow_many()


class Counter(AsyncWebsocketConsumer):
    received = 0

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "count":
            await self.send(str(Counter.received))
        else:
            Counter.received += 1


application = Counter.as_asgi()
