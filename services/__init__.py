"""The services, installed as holdfast.services: coordinator, trainer, backtester."""
