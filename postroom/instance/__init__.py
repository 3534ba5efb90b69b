"""One instance on one machine: its data directory, its system user, and an unfinished restore."""
