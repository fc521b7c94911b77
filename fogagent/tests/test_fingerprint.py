from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from fogagent.fingerprint import fingerprint, heartbeat_sample, machine_cpu_millis, machine_memory_mb
from fogagent.messages import DriverFact, GpuFact, decode_from_agent, encode_frame
from fogagent.nvml import gpus

# The five calls of NVIDIA's library that are used, for two cards of 8 and 16 GB.
NVML = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlInit_v2(void) { return STATUS; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    strncpy(name, (long)device == 1 ? "Card A" : "Card B", length); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    memory->total = (unsigned long long)(long)device * 8ULL << 30; return 0; }
"""


def compile_nvml(directory: Path, status: int) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the library with")
    source, library = directory / "nvml.c", directory / f"nvml{status}.so"
    source.write_text(NVML)
    subprocess.run([compiler, "-shared", "-fPIC", f"-DSTATUS={status}", "-o", library, source], check=True)
    return str(library)


def test_facts_are_the_machines(tmp_path: Path) -> None:
    drivers = [DriverFact(name="wasm", available=True)]
    facts = fingerprint(state_dir=tmp_path, drivers=drivers, region="eu-west", labels={"a": "b"})
    assert facts.cpu_millis == machine_cpu_millis()
    assert facts.memory_mb == machine_memory_mb()
    assert facts.disk_mb > 0
    assert facts.drivers == drivers
    assert decode_from_agent(encode_frame([facts])) == [facts]  # it keeps the protocol's rules


def test_an_owner_offers_a_share(tmp_path: Path) -> None:
    facts = fingerprint(state_dir=tmp_path, drivers=[], cpu_millis=500, memory_mb=300)
    assert (facts.cpu_millis, facts.memory_mb) == (500, 300)


def test_a_container_has_what_it_is_limited_to(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{256 * 1024 * 1024}\n")
    assert (machine_cpu_millis(tmp_path), machine_memory_mb(tmp_path)) == (500, 256)


def test_no_limit_means_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_cpu_millis(tmp_path) % 1000 == 0
    assert machine_memory_mb(tmp_path) == psutil.virtual_memory().total // 2**20


def test_a_heartbeat_is_measured(tmp_path: Path) -> None:
    beat = heartbeat_sample(at=psutil.boot_time() + 100, running=3, state_dir=tmp_path)
    assert (beat.running, beat.uptime_s) == (3, 100)
    assert 0 < beat.memory_used_mb < beat.memory_total_mb
    assert 0 <= beat.cpu_percent <= 100
    assert decode_from_agent(encode_frame([beat])) == [beat]


def test_cards_are_told_with_their_memory(tmp_path: Path) -> None:
    assert gpus(compile_nvml(tmp_path, 0)) == [
        GpuFact(name="Card A", memory_mb=8192),
        GpuFact(name="Card B", memory_mb=16384),
    ]


def test_without_a_driver_there_are_no_cards(tmp_path: Path) -> None:
    assert gpus("libno-such-library.so") == []
    assert gpus(compile_nvml(tmp_path, 9)) == []  # NVML_ERROR_DRIVER_NOT_LOADED


def test_a_library_without_these_calls_tells_of_no_cards() -> None:
    assert gpus("libc.so.6") == []
