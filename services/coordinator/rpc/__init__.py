"""The services. Each checks its request and calls a room of the coordinator; none owns state or SQL."""

__all__: list[str] = []
