"""One instance on one machine: its data directory, its system user, and what a crash left to do."""
