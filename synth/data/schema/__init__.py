"""What the columns of people's data mean: known shapes and benchmarks, brought to `messages` and `reference`."""
