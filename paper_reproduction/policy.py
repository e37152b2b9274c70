"""What a page lets its browser run: the scripts that were written for it, known by their hashes, and no other."""

from __future__ import annotations

import base64
import hashlib


def hashed(script: str) -> str:
    """A script's hash as the policy of a page (Content-Security-Policy) names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
