"""`python -m featcache` and `torchrun -m featcache`: the command line."""

from featcache.app.main import main

main()
