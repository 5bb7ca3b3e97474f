"""Networks, and the bundle that a training leaves behind.

networks    mlp, lstm, gru, and how their inputs are cut
bundle      a trained model with all it takes to use it
"""

__all__: list[str] = []
