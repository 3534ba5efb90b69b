"""Several machines that share the accounts: nodes, moves between nodes, and joining."""
