"""Chat templates: what a model is fed, and which of its tokens the assistant wrote."""
