"""The catalogue of checkpoints, and its clean-up."""
