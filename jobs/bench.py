"""Benchmarks, each a ratio from one run: ``python jobs/bench.py --diffusion [its own options]``."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {"--diffusion": "bench_diffusion"}


def main(arguments: list[str]) -> int:
    """Run the benchmark that the first argument names with the arguments behind it; 2 where there is none."""
    if not arguments or arguments[0] not in BENCHMARKS:
        print(f"usage: bench.py {' | '.join(BENCHMARKS)} [options]", file=sys.stderr)
        return 2
    benchmark = importlib.import_module(BENCHMARKS[arguments[0]])
    return int(benchmark.main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
