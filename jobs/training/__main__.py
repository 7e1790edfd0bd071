"""``python -m training``: packs the data, trains the embedded networks."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="training")
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser("pack")
    pack.add_argument("--photos", required=True)
    pack.add_argument("--art", required=True)
    pack.add_argument("--features", type=Path, required=True)
    pack.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    from training.pack import build
    print(build(given.out, given.photos, given.art, given.features))


if __name__ == "__main__":
    main()
