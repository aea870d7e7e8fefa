"""The doctor: what of a cluster would fail a run an hour later, each with its limit and what mends it."""
