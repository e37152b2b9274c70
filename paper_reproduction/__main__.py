"""``python -m paper_reproduction``."""

from paper_reproduction.command import app

if __name__ == "__main__":
    app(prog_name="python -m paper_reproduction")
