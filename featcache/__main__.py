"""`python -m featcache` and `torchrun -m featcache`: the command line."""

from featcache.cli import main

main()
