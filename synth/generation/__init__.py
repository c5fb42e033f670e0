"""Generation: methods run over rows, with models that answer and verifiers that judge."""
