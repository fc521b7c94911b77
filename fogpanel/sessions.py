"""Sessions in the database, which is asked only for keys that it can have given out."""

from __future__ import annotations

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    def _validate_session_key(self, key: str | None) -> bool:
        """A cookie can spell a NUL, which PostgreSQL refuses to look for."""
        return key is not None and len(key) >= 8 and key.isascii() and key.isalnum()
