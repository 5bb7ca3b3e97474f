"""The catalogue of checkpoints, and its clean-up."""

__all__: list[str] = []
