"""The forgetting lab: every recipe against forgetting, on the sample model, at equal steps, over several seeds."""
