"""`python -m benchmarks [NAME] [OPTIONS]`: run one benchmark with its options, or all with their defaults."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> None:
    name, *rest = sys.argv[1:] or [""]
    if name and name not in NAMES:
        sys.exit(f"no benchmark {name!r}; there are: {', '.join(NAMES)}")
    for each in [name] if name else NAMES:
        print(f"== {each}", flush=True)
        sys.argv = [f"benchmarks.{each}", *rest]
        runpy.run_module(f"benchmarks.{each}", run_name="__main__")


if __name__ == "__main__":
    main()
