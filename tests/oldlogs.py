"""Small logs as earlier releases wrote them, kept as SQL in tests/logs: each must open in every later one.

    python -m tests.oldlogs NAME

writes such a log by the commands of this release, on made-up news: tests/logs/NAME.sqlite.sql, and NAME.postgresql.sql
where a cluster is there (`python -m tests.cluster -- python -m tests.oldlogs NAME`). Do it for every release.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import NullPool, create_engine, make_url

from tests.cluster import VARIABLE, programs
from tests.databases import postgresql
from tests.support import WebServer, item, rss

LOGS = Path(__file__).parent / "logs"
# Maildir's files are named in the log: the folder must be nobody's own.
FOLDER = Path("/tmp/claimwatch-old-log")
CONFIG = """
feeds: {{ gazette: {gazette}, herald: {herald} }}
claims:
  prisoner-exchange: {{terms: "{term}"}}
digests:
  daily: {{at: "07:30", timezone: UTC, to: [reader@example.org]}}
polling: {{allow_private: 127.0.0.1}}
{database}
"""


def names() -> list[str]:
    """The logs that are kept, oldest first."""
    return sorted({path.name.split(".")[0] for path in LOGS.glob("*.sql")}, key=lambda name: int(name.split("-")[1]))


def put_into_sqlite(name: str, file: Path) -> None:
    with closing(sqlite3.connect(file)) as raw:
        raw.executescript((LOGS / f"{name}.sqlite.sql").read_text(encoding="utf-8"))


def put_into_postgresql(name: str, url: str) -> None:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql((LOGS / f"{name}.postgresql.sql").read_text(encoding="utf-8").replace("%", "%%"))


def tell_story(folder: Path, database: str) -> None:
    """A day at the desk, by the commands: items that come, change and match, a feed that fails, terms that change."""
    config = folder / "feeds.yaml"

    def claimwatch(*arguments: str, fails: bool = False) -> None:
        command = [sys.executable, "-m", "daemon", *arguments, "--config", str(config), "--state", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert bool(done.returncode) == fails, done.stderr

    with WebServer() as web:
        gazette = web.serve("/gazette.xml", rss(item("Prisoner exchange agreed"), item("Rain expected")))

        def configure(term: str) -> None:
            text = CONFIG.format(gazette=gazette, herald=web.url("/missing.xml"), term=term, database=database)
            config.write_text(text, encoding="utf-8")

        configure("prisoner exchange")
        claimwatch("poll")
        claimwatch("digest", "prepare")
        claimwatch("deliver")
        changed = item("Rain expected", summary="Обмін полоненими: дощ, 100 %.")
        web.serve("/gazette.xml", rss(item("Energy strike pause"), item("Prisoner exchange agreed"), changed))
        configure("prisoner exchange OR strike OR обмін")
        claimwatch("poll")
        claimwatch("digest", "resend", "daily", "--to", "reader@example.org")
        claimwatch("verify")


def _write_sqlite(name: str) -> None:
    tell_story(FOLDER, "")
    with closing(sqlite3.connect(FOLDER / "claimwatch.sqlite3")) as raw:
        text = "\n".join(raw.iterdump())
    (LOGS / f"{name}.sqlite.sql").write_text(text + "\n", encoding="utf-8")


def _write_postgresql(name: str) -> None:
    with postgresql() as database:
        tell_story(FOLDER, f"database: {{url: '{database.url}'}}")
        command = [str(programs() / "pg_dump"), "--no-owner", "--no-privileges", "--inserts", database.url]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # What psql alone understands, what a server of another version may not, and comments.
    text = re.sub(r"^(\\|--|SET |SELECT pg_catalog\.set_config).*\n|^\n", "", text, flags=re.MULTILINE)
    (LOGS / f"{name}.postgresql.sql").write_text(text, encoding="utf-8")


def main(name: str) -> None:
    LOGS.mkdir(exist_ok=True)
    for write in (_write_sqlite, *([_write_postgresql] if VARIABLE in os.environ else [])):
        FOLDER.mkdir()
        try:
            write(name)
        finally:
            shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1])
