"""The commands that train, evaluate and tell. Modules here import nothing heavy until a command runs."""
