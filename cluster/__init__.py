"""Where a job runs: fleets, submission, preflight. Knows machines, nothing of training."""
