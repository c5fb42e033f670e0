"""How the sample model and the hybrid one are made: their data, their training, their measures."""
