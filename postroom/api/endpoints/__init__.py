"""The endpoints of the API, one file per noun, and the shapes of each noun in answers."""
