"""Sound and pictures that a manifest names."""
