"""The functions of `synth`: one module for each command."""
