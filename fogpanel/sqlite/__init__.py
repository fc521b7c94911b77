"""Django's backend for SQLite, whose writers within a process wait in line."""
