"""The commands, a file for each: what it takes, the work it asks other rooms for, what it prints."""
