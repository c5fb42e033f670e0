"""Token scores: the log-probability of every token under a model, and which tokens are trained on."""
