"""Operations: their life-cycle, and everything that moves them."""
