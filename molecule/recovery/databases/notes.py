#!/usr/bin/python3
"""Makes an SQLite database in WAL mode, or writes to it until it is stopped: `notes.py make FILE`, `notes.py write FILE`."""

import sqlite3
import sys
import time


def main() -> None:
    verb, path = sys.argv[1:]
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    if verb == "make":
        database.execute("PRAGMA journal_mode = WAL")
        database.execute('CREATE TABLE "the ""notes"" メモ" (id INTEGER PRIMARY KEY, text TEXT, data BLOB)')
        database.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, at REAL)")
        rows = [(f"note {number} 'quoted' 世代", bytes([number % 256]) * 100) for number in range(2000)]
        database.execute("BEGIN")
        database.executemany('INSERT INTO "the ""notes"" メモ" (text, data) VALUES (?, ?)', rows)
        database.execute("COMMIT")
        return
    while True:
        database.execute("INSERT INTO log (at) VALUES (?)", (time.time(),))
        time.sleep(0.002)


if __name__ == "__main__":
    main()
