"""Rewards for reinforcement learning: what verifiers and measures say of completions, as trainers take it."""
