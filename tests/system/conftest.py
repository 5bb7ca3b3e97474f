"""The market data that every cluster starts with; imported once."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.market.sample import install_sample
from holdfast.market.store import MarketStore


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market directory with the S&P 500 and the NASDAQ, daily, 1999-2018."""
    directory = tmp_path_factory.mktemp("market")
    install_sample(MarketStore(directory))
    return directory
