"""Under pytest every kernel starts strictly: a lesson that warns fails."""

from __future__ import annotations

import os

from paper_reproduction.notebooks.lessons import STRICT

os.environ.update(STRICT)
