"""Small models: one thread each, and nothing from the network."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

try:
    import torch
except ModuleNotFoundError:  # the tests that need it skip
    pass
else:
    torch.set_num_threads(1)
