"""``python -m linear_theory``, if what the command line needs is installed."""

import sys

from .command.installation import missing_package

if __name__ == "__main__":
    try:
        from .command.app import run
    except ImportError as error:
        print(f"error: {missing_package(error, 'cli')}", file=sys.stderr)
        raise SystemExit(2) from None
    run()
