"""The command line of Postroom, one file a group of commands."""
