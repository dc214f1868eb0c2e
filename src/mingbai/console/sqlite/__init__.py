"""SQLite, with writers that take turns."""
