"""Operations: their life-cycle, and everything that moves them."""

__all__: list[str] = []
