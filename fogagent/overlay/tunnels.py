"""The tunnels that this node is to have open: SOCKS ports on loopback whose streams leave elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec import structs

from fogagent.messages import GuardedTunnel, SocksPassword, TunnelSpec, TunnelState
from fogagent.overlay.onion.path import Wishes
from fogagent.overlay.remembered import remember
from fogagent.overlay.socks import Fault
from fogagent.overlay.socks_server import SocksServer
from fogagent.overlay.stream import Isolation, OverlayStream, Target

LOOPBACK = "127.0.0.1"
NOT_GRANTED = (
    "The owner of this node does not let tunnels begin here: entry is not among its agent's --flags."
)

log = logging.getLogger("fogagent")


class Streams(Protocol):
    """Where a tunnel's streams come from."""

    def want(self, wishes: Wishes) -> None: ...

    def open_stream(
        self, wishes: Wishes, rotate_s: float, tunnel: int, target: Target, isolation: Isolation
    ) -> Awaitable[OverlayStream]:
        """Raises StreamRefused."""


def wishes_of(spec: TunnelSpec) -> Wishes:
    return Wishes(hops=spec.hops, exit_region=spec.exit_region, exit_node=spec.exit_node)


def _passwords(spec: TunnelSpec) -> list[SocksPassword] | None:
    return spec.passwords if isinstance(spec, GuardedTunnel) else None


def _port_of(spec: TunnelSpec) -> TunnelSpec:
    """What the port depends on, which is not who may use it."""
    facts = structs.asdict(spec)
    facts.pop("passwords", None)
    return TunnelSpec(**facts)


@dataclass
class _Tunnel:
    spec: TunnelSpec
    server: SocksServer
    port: int = 0
    sentence: str = ""

    def becomes(self, spec: TunnelSpec | None) -> bool:
        """Whether it is this one already, but for its passwords, which it takes over then.

        Its port stays open meanwhile, so that no other program can take it.
        """
        if spec is None or _port_of(spec) != _port_of(self.spec):
            return False
        if spec != self.spec:
            self.server.set_passwords(_passwords(spec))
        self.spec = spec
        return True


class Tunnels:
    """To be used from one event loop. Ports are remembered, so that what was pasted goes on working."""

    def __init__(
        self, streams: Streams, ports: Path, on_change: Callable[[], None], *, granted: bool
    ) -> None:
        """``granted``: whether the owner lets tunnels begin here."""
        self._granted = granted
        self._streams, self._ports_path, self._on_change = streams, ports, on_change
        self._ports = _read(ports)
        self._tunnels: dict[int, _Tunnel] = {}
        self._turn = asyncio.Lock()  # orders are carried out one after the other: the last one counts

    @property
    def specs(self) -> list[TunnelSpec]:
        return [each.spec for each in self._tunnels.values()]

    async def set(self, specs: Sequence[TunnelSpec]) -> None:
        """Have these open and no others. What stays as it was is not disturbed."""
        async with self._turn:
            await self._set({spec.tunnel: spec for spec in specs})
        self._on_change()

    async def _set(self, wanted: Mapping[int, TunnelSpec]) -> None:
        for number, tunnel in list(self._tunnels.items()):
            if not tunnel.becomes(wanted.get(number)):
                del self._tunnels[number]
                await tunnel.server.close()
        for number, spec in wanted.items():
            if number not in self._tunnels:
                await self._open(spec)
        self._remember()

    async def _open(self, spec: TunnelSpec) -> None:
        wishes = wishes_of(spec)
        open_stream = partial(self._streams.open_stream, wishes, spec.rotate_s, spec.tunnel)
        tunnel = self._tunnels[spec.tunnel] = _Tunnel(
            spec, SocksServer(open_stream, passwords=_passwords(spec))
        )
        if not self._granted:
            tunnel.sentence = NOT_GRANTED
            return
        try:
            tunnel.port = await self._listen(tunnel.server, spec)
        except OSError as error:
            tunnel.sentence = f"Port {spec.port} cannot be opened here: {error.strerror or error}."
            return
        self._streams.want(wishes)
        log.info("tunnel %d is open at %s:%d", spec.tunnel, LOOPBACK, tunnel.port)

    async def _listen(self, server: SocksServer, spec: TunnelSpec) -> int:
        """The port. Where any will do, the one it had before, if that is free. Raises OSError."""
        if not spec.port and (before := self._ports.get(spec.tunnel)):
            try:
                return await server.listen(LOOPBACK, before)
            except OSError:
                pass
        return await server.listen(LOOPBACK, spec.port)

    def states(self) -> list[TunnelState]:
        return [
            TunnelState(
                tunnel=number,
                open=bool(each.port),
                port=each.port,
                sentence=each.sentence,
                clients=each.server.clients,
                sent_bytes=each.server.sent_bytes,
                received_bytes=each.server.received_bytes,
                wrong_passwords=each.server.refused[Fault.WRONG_PASSWORD],
                missing_passwords=each.server.refused[Fault.NO_PASSWORD],
            )
            for number, each in self._tunnels.items()
        ]

    async def close(self) -> None:
        async with self._turn:
            tunnels, self._tunnels = self._tunnels, {}
            for tunnel in tunnels.values():
                await tunnel.server.close()

    def _remember(self) -> None:
        self._ports = {number: each.port for number, each in self._tunnels.items() if each.port}
        try:
            remember(self._ports_path, json.dumps(self._ports).encode())
        except OSError as error:
            log.warning("The ports of tunnels cannot be remembered: %s.", error)


def _read(path: Path) -> dict[int, int]:
    """The ports by tunnel; none where there is no such file, or a damaged one."""
    try:
        return {int(number): int(port) for number, port in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
