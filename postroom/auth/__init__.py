"""Who may call the API: keys, their networks, and sessions of the console."""
