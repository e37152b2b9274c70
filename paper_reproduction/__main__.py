"""``python -m paper_reproduction``, if what it needs is installed."""

import sys

from linear_theory.command.installation import missing_package

if __name__ == "__main__":
    try:
        from paper_reproduction.command import app

        app(prog_name="python -m paper_reproduction")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("paper_reproduction", "figures", "linear_theory"):
            raise  # a fault of ours, which no installation mends
        print(f"error: {missing_package(error, 'paper')}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.filename is not None:
            raise
        from linear_theory.command.output import output_lost

        output_lost(error)  # what typer itself prints may meet a full disk as well
