"""Token scores: how likely a model finds every token, and which of them are trained on."""
