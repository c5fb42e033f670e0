"""The `synth` command line: one thin module a command."""
