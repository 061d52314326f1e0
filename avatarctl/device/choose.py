"""From the user's word for a device to a torch device, with the reason for the log."""

from __future__ import annotations

import os

import torch

from avatarctl.errors import DeviceError


def choose(words: str = "auto") -> tuple[torch.device, str]:
    """The device meant by "auto", "cpu", "cuda", "cuda:1" or "mps", and why it was taken.

    Raises:
        DeviceError: There is no such device.
    """
    words = (words or "auto").strip().lower()
    if words == "auto":
        return _automatic()
    kind = words.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"no device is called '{words}'", hint="use auto, cpu, cuda, cuda:N or mps")
    if words == "cuda" and torch.cuda.is_available():
        return _cuda()
    if words not in available():
        raise DeviceError(
            f"there is no device '{words}'; there is {', '.join(available())}", hint="--device auto"
        )
    return torch.device(words), "asked for"


def available() -> list[str]:
    """Names of the devices of this machine."""
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _automatic() -> tuple[torch.device, str]:
    if torch.cuda.is_available():
        return _cuda()
    if torch.backends.mps.is_available():
        return torch.device("mps"), "no CUDA device"
    return torch.device("cpu"), "no CUDA or MPS device"


def _cuda() -> tuple[torch.device, str]:
    """The rank's own device under torchrun, else the one with most free memory."""
    count = torch.cuda.device_count()
    if "LOCAL_RANK" in os.environ:
        index = int(os.environ["LOCAL_RANK"]) % count
        return torch.device("cuda", index), f"{torch.cuda.get_device_name(index)}, one per process"
    free = [torch.cuda.mem_get_info(index)[0] for index in range(count)]
    index = max(range(count), key=free.__getitem__)
    name = torch.cuda.get_device_name(index)
    return torch.device("cuda", index), f"{name}, {free[index] / 2**30:.1f} GiB free, most of {count}"
