"""Recipes whose fault is known, because it was planted."""
