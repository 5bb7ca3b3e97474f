"""`python -m benchmarks`: every benchmark, one after the other."""

from __future__ import annotations

from benchmarks import checkpoint_cost, store_bandwidth


def main() -> None:
    """Runs them all."""
    store_bandwidth.main()
    checkpoint_cost.main()


if __name__ == "__main__":
    main()
