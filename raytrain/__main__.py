"""`python -m raytrain`: the command, where its script is not on the PATH (a submitted job's, for one)."""

from raytrain.console import main

main()
