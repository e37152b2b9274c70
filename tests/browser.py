"""Chromium or Chrome, for the tests that look at pages in it; they are skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

needs_browser = pytest.mark.skipif(BROWSER is None and "CI" not in os.environ, reason="no Chromium here")
one_at_a_time = pytest.mark.xdist_group("browser")


@contextmanager
def started() -> Iterator[Browser]:
    """The browser, closed at the end."""
    assert BROWSER is not None, "continuous integration must have Chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()
