"""Threads: one worker is one core."""

from __future__ import annotations

import torch


def single_threaded() -> None:
    """Keep torch to one thread in this process. Must come before the first parallel work."""
    torch.set_num_threads(1)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
