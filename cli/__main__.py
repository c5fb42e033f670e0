"""`python -m cli`: what launchers of several processes (torchrun, accelerate) start."""

from cli.main import main

main()
