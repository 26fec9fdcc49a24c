"""What SQLite's errors mean: the cause with its cure, and what clients are told."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...exceptions import LogUnavailable, LogUnusable

#: How long SQLite waits for a lock that another process holds.
LOCK_SECONDS = 5.0

# For clients, who may be anybody: no path, and none of SQLite's own words.
_PUBLIC = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": "the event log is busy",
    "SQLITE_LOCKED": "the event log is busy",
    "SQLITE_READONLY": "the event log can't be written",
    "SQLITE_CANTOPEN": "the event log can't be opened",
    "SQLITE_PERM": "the event log can't be opened",
    "SQLITE_IOERR": "the disk doesn't take or give data",
    "SQLITE_CORRUPT": "the event log is damaged",
    "SQLITE_NOTADB": "the event log is damaged",
}
_AWAY = "the event log is away"
_CURES = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_BUSY": f"another program has held the file for {LOCK_SECONDS:g} s; end that program",
    "SQLITE_LOCKED": "another connection holds the file; try again",
    "SQLITE_READONLY": "the file or its folder can't be written; give this user the right to",
    "SQLITE_CANTOPEN": "the file can't be opened; make its folder, and give this user the right "
    "to read and write it",
    "SQLITE_PERM": "the file can't be opened; give this user the right to read and write it",
    "SQLITE_IOERR": "the disk doesn't take or give data; see the system's log, and its free space",
}
# Those after which trying again won't help.
_DAMAGE = {
    "SQLITE_CORRUPT": "the file is damaged; restore a copy, or move it away to begin anew "
    "(the `.recover` command of sqlite3 saves what can be saved)",
    "SQLITE_NOTADB": "the file is no SQLite database; name another in database.url",
}


def translated(error: sqlite3.Error | OSError, path: Path) -> LogUnavailable:
    """Return the error to raise in place of one that came while the file was used."""
    name = getattr(error, "sqlite_errorname", "")
    # Extended codes add to the primary one: SQLITE_IOERR_WRITE.
    primary = "_".join(name.split("_")[:2])
    public = _PUBLIC.get(primary, _AWAY)
    if primary in _DAMAGE:
        return LogUnusable(f"{path}: {_DAMAGE[primary]}", public)
    return LogUnavailable(f"{path}: {_CURES.get(primary, error)}", public)


def no_folder(error: OSError, path: Path) -> LogUnavailable:
    """Return the error to raise where the file's folder can't be made."""
    return LogUnavailable(
        f"{path}: its folder can't be made ({error.strerror}); make it",
        _PUBLIC["SQLITE_CANTOPEN"],
    )
