"""Who may call the API: keys, the networks of keys, and console sessions."""
