"""The functions of `synth`: one module a command, each function what its command does."""
