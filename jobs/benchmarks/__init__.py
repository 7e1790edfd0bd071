"""Benchmarks, each a ratio from one run; ``jobs/bench.py`` runs them."""
