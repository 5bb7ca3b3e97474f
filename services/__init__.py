"""The services, installed as holdfast.services: coordinator, trainer, backtester."""

__all__: list[str] = []
