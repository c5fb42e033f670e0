"""Audio and image files that a manifest lists."""
