"""From bars to what a network sees. Imports numpy and TA-Lib; the schema stands in holdfast.strategy.

indicators      TA-Lib on the bars of one symbol and timeframe
memberships     fuzzy sets
alignment       which bar of a higher timeframe is visible
normalisation   statistics of the training span
inputs          all of it, one matrix per symbol
"""

__all__: list[str] = []
