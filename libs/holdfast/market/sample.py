"""Installs real daily bars of two indices, 1999 to 2018, which the `arch` package carries for its own tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from holdfast.errors import NotFound
from holdfast.market.importing import ImportReport, import_file
from holdfast.market.store import MarketStore

__all__ = ["SAMPLES", "install_sample"]

# Symbol: the folder inside arch.data. SPX is the S&P 500 index, NASDAQ the NASDAQ Composite index.
SAMPLES: Final = {"SPX": "sp500", "NASDAQ": "nasdaq"}


def install_sample(store: MarketStore) -> list[ImportReport]:
    """Imports SPX and NASDAQ as 1d series.

    Raises NotFound (SAMPLE_NOT_FOUND) when `arch` is missing or carries them no more.
    """
    # The files are read where they lie: importing arch would load pandas and statsmodels.
    spec = importlib.util.find_spec("arch")
    roots = [] if spec is None or spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    reports = []
    for symbol, folder in SAMPLES.items():
        path = next((p for root in roots if (p := Path(root) / "data" / folder / f"{folder}.csv.gz").is_file()), None)
        if path is None:
            raise NotFound(
                f"The sample of {symbol} comes with the package arch, which "
                f"{'no longer carries it' if roots else 'is not installed'}. "
                "Install it with: pip install 'holdfast-quant[sample]'",
                reason="SAMPLE_NOT_FOUND",
            )
        reports.append(import_file(store, path, symbol, "1d"))
    return reports
