"""``python -m linear_theory``, if what the command line needs is installed."""

import sys

if __name__ == "__main__":
    try:
        from .command.app import run
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        remedy = 'the command needs: pip install "linear-theory[cli]"'
        print(f"error: {missing} is not installed; {remedy}", file=sys.stderr)
        raise SystemExit(2) from None
    run()
