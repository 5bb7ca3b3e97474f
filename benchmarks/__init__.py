"""Ratios measured side by side in one run. A number here never fails a test: machines are noisy."""
