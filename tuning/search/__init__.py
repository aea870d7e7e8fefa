"""A sweep: what is tried (spaces, samplers), how long (rungs, the fidelity gate), and where it runs (executors)."""
