"""`python -m featcache` and `torchrun -m featcache`: the command line."""

from featcache.app.main import main

if __name__ == "__main__":  # a worker process imports this file too, under another name
    main()
