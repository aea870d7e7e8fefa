"""Where a job runs: fleets, connecting, submission. Knows machines, nothing of training."""
