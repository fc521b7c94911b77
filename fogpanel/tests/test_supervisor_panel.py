"""The parts of a start: the broker, the address, the local agents, the data folder and its stamps."""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from fogpanel.supervisor import address, broker, fleet
from fogpanel.supervisor.child import Child
from fogpanel.supervisor.places import DataFolder
from fogpanel.supervisor.problems import CannotStart
from fogpanel.supervisor.running import Running, is_running, read_running, sole_supervisor, write_running
from fogpanel.supervisor.stamps import fingerprint, is_done, mark_done


@pytest.mark.asyncio
async def test_the_broker_answers_its_password_only(tmp_path: Path) -> None:
    embedded = broker.prepare(tmp_path / "broker")
    assert not await embedded.answers()
    async with running(embedded):
        stranger = broker.Broker(embedded.program, embedded.port, "guess", embedded.log)
        assert not await stranger.answers()
    assert not await embedded.answers()


@pytest.mark.asyncio
async def test_a_restarted_broker_has_its_messages_back_and_a_new_start_is_empty(
    tmp_path: Path,
) -> None:
    embedded = broker.prepare(tmp_path)
    async with running(embedded), client_of(embedded) as client:
        await client.set("letter", "unread")
    async with running(embedded), client_of(embedded) as client:
        assert await client.get("letter") == "unread"
    (tmp_path / broker.AOF_FOLDER / "appendonly.aof.manifest").write_text("damaged")
    fresh = broker.prepare(tmp_path)
    async with running(fresh), client_of(fresh) as client:
        assert await client.get("letter") is None


@asynccontextmanager
async def running(embedded: broker.Broker) -> AsyncIterator[None]:
    child = Child(embedded.program, lambda who, line: None, lambda: None)
    child.start()
    await embedded.wait()
    yield
    await child.stop()


def client_of(embedded: broker.Broker) -> Redis:
    return Redis.from_url(embedded.url, decode_responses=True)


def test_the_broker_s_password_is_for_its_owner_only(tmp_path: Path) -> None:
    embedded = broker.prepare(tmp_path)
    configuration = tmp_path / "broker.conf"
    assert embedded.password in configuration.read_text()
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    assert embedded.password not in " ".join(embedded.program.argv)


def test_without_a_broker_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CannotStart, match=r"install valkey-server or redis-server .* or set REDIS_URL"):
        broker.find_server()


def test_a_busy_port_is_named_with_another_to_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"Port {port} is in use; .* --port {port + 1}"):
            address.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.7", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(CannotStart, match=f"--host {host} is not an address of this machine"):
        address.listen(host, 0)


def test_addresses_for_people_and_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOGPANEL_URL", raising=False)
    assert address.public_url("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert address.public_url("::1", 8000) == "http://[::1]:8000"
    assert address.local_url("0.0.0.0", 8000) == "http://127.0.0.1:8000"
    monkeypatch.setenv("FOGPANEL_URL", "https://fog.example.org/")
    assert address.public_url("0.0.0.0", 8000) == "https://fog.example.org"


@pytest.mark.parametrize(("cpu_millis", "memory_mb"), [(2000, 4096), (1000, 2048), (64_000, 262_144)])
def test_local_agents_share_the_machine(cpu_millis: int, memory_mb: int) -> None:
    agents = fleet.share_out(list(fleet.KINDS), cpu_millis, memory_mb)
    assert 0.98 * cpu_millis <= sum(agent.cpu_millis for agent in agents) <= cpu_millis
    assert 0.98 * memory_mb <= sum(agent.memory_mb for agent in agents) <= memory_mb


def test_on_two_cores_one_agent_has_a_whole_one_and_every_agent_a_quarter() -> None:
    agents = fleet.share_out(list(fleet.KINDS), 2000, 4096)
    assert max(agent.cpu_millis for agent in agents) == 1000
    assert min(agent.cpu_millis for agent in agents) == 250


def test_local_agents_differ_in_name_type_and_region() -> None:
    assert len({kind.node_type for kind in fleet.KINDS}) == len({kind.region for kind in fleet.KINDS}) == 5
    assert len({agent.name for agent in fleet.local_agents(12)}) == 12
    assert fleet.local_agents(0) == []


def test_the_join_key_is_not_on_the_command_line(tmp_path: Path) -> None:
    [agent] = fleet.local_agents(1)
    program = fleet.agent_program(
        agent, DataFolder(tmp_path), url="http://x", panel_key="k", join_key="secret"
    )
    assert "secret" not in " ".join(program.argv)
    assert program.env["FOG_JOIN_KEY"] == "secret"


def test_a_data_folder_has_one_supervisor(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    assert not is_running(data)
    with sole_supervisor(data):
        write_running(data, Running(4711, "http://127.0.0.1:8000", "redis://…", True, {"web": 12}))
        assert is_running(data)
        with pytest.raises(
            CannotStart, match=r"already runs on .* at http://127.0.0.1:8000 \(process 4711\)"
        ):
            sole_supervisor(data).__enter__()
        running = read_running(data)
        assert running is not None and running.children == {"web": 12}
    assert not is_running(data)
    assert read_running(data) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_data_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CannotStart, match=f"Cannot write to the data folder {tmp_path}"):
        sole_supervisor(DataFolder(tmp_path / "data")).__enter__()


def test_a_data_folder_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"Cannot write to the data folder .*file/data: Not a directory"):
        sole_supervisor(DataFolder(tmp_path / "file" / "data")).__enter__()


def test_a_stamp_holds_until_a_file_changes(tmp_path: Path) -> None:
    source, stamp = tmp_path / "source", tmp_path / "stamps" / "done"
    source.mkdir()
    (source / "a").write_text("1")
    mark_done(stamp, fingerprint([source]))
    assert is_done(stamp, fingerprint([source]))
    (source / "a").write_text("22")
    assert not is_done(stamp, fingerprint([source]))
