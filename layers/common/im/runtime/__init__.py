"""Where the environment is read, clients are made and frames meet flows."""
