"""The graphics cards of this machine, as NVIDIA's management library tells them.

Only what is measured is told: a machine without the library or the driver has no cards to offer.
Source: NVML API reference, `nvmlDeviceGetMemoryInfo`.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

from fogagent.messages import GpuFact

LIBRARY = "libnvidia-ml.so.1"
NAME_BYTES = 96
MB = 1024 * 1024


class _MemoryInfo(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = [
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    ]


class _NvmlError(Exception):
    """A call returned something else than NVML_SUCCESS."""


def gpus(library: str = LIBRARY) -> list[GpuFact]:
    """Every card with its memory; empty where there is no NVIDIA driver."""
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return []
    try:
        with _session(nvml):
            return [_describe(nvml, index) for index in range(_count(nvml))]
    except (_NvmlError, AttributeError):  # no driver loaded, or one too old for these calls
        return []


@contextlib.contextmanager
def _session(nvml: ctypes.CDLL) -> Iterator[None]:
    _check(nvml.nvmlInit_v2())
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _count(nvml: ctypes.CDLL) -> int:
    count = ctypes.c_uint()
    _check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    return count.value


def _describe(nvml: ctypes.CDLL, index: int) -> GpuFact:
    device = ctypes.c_void_p()
    _check(nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)))
    name = ctypes.create_string_buffer(NAME_BYTES)
    _check(nvml.nvmlDeviceGetName(device, name, ctypes.c_uint(NAME_BYTES)))
    memory = _MemoryInfo()
    _check(nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)))
    return GpuFact(name=name.value.decode(errors="replace"), memory_mb=memory.total // MB)


def _check(status: int) -> None:
    if status != 0:
        raise _NvmlError(status)
