"""The command line: a file for each command in `commands/`; the only room that prints, exits and knows both stages."""
