"""The functions of `synth`: one module for each command.

Parameters that many of them share are written out in each: held once, as an unpacked `TypedDict`, they would be neither
in `help(synth.magpie)` nor in the signatures of which the options of the commands are made.
"""
