"""The explorer: one static HTML page with everything in it, the plotting library included."""

from paper_reproduction.explorer.build import build, library, part, write

__all__ = ["build", "library", "part", "write"]
