"""Workers: who they are, what they run, what they say."""

__all__: list[str] = []
