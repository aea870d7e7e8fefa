"""Many recipes to one decision: search with Ray Tune and Optuna."""
