"""Measures speed and memory of Soma, each beside a control in the same run: ``python -m scripts.bench``."""
