"""`bin/fuzz TARGET --runs N`: bytes by coverage (atheris) to one of the targets, until one is a fault or N are done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0, help="stop after so many; 0: no limit")
    parser.add_argument("--corpus", type=Path, default=HERE / "corpus", help="a folder for each target is kept there")
    asked = parser.parse_args()
    try:
        import atheris
    except ImportError:
        sys.exit("bin/fuzz needs atheris, which is not installed: pip install atheris (Python 3.11 to 3.13)")
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    with atheris.instrument_imports(include=["featcache", "heads", "PIL"]):
        import targets
    if asked.target not in targets.TARGETS:
        sys.exit(f"{asked.target}: no such target. Name one of {', '.join(targets.TARGETS)}")
    corpus = asked.corpus / asked.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds(asked.target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-runs={asked.runs}", f"-max_total_time={asked.seconds}", "-rss_limit_mb=8192", "-timeout=60"]
    prefix = f"-artifact_prefix={corpus.parent}/{asked.target}-"
    atheris.Setup([sys.argv[0], *limits, prefix, "-max_len=65536", str(corpus)], lambda d: targets.one(asked.target, d))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
