"""The practical methodology (Goodfellow et al. 2016, ch. 11): target, baseline, what is worst, one change, repeat."""
