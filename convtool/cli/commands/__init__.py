"""One file per subcommand: its name with hyphens for underscores, its function `run`, whose docstring is its help."""
