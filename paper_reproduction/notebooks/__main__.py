"""``python -m paper_reproduction.notebooks [NAME…]``: run the lessons and store them, all or those named."""

from __future__ import annotations

import sys
import time

from linear_theory.command.installation import missing_package

try:
    from paper_reproduction.notebooks.lessons import scripts, store
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {missing_package(error, 'lessons')}") from None


def main(names: list[str]) -> None:
    chosen = [
        s
        for s in scripts()
        if not names or any(s.stem.startswith(name) for name in names)
    ]
    if not chosen:
        raise SystemExit(f"no lesson begins with {' or '.join(names)}")
    for script in chosen:
        clock = time.perf_counter()
        path = store(script)
        print(
            f"{path.name}: {time.perf_counter() - clock:.1f} s, {path.stat().st_size / 1024:.0f} kB"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
