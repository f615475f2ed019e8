"""A PostgreSQL cluster of the tests' own, run by deploy/postgres/cluster."""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from support.paths import ROOT
from support.scripts import run_script
from support.tls import Authority

SCRIPT = ROOT / "deploy/postgres/cluster"


@dataclass(frozen=True)
class Database:
    """A fresh database; `dsn` names the password's file instead of the password, and asks for TLS."""

    name: str
    dsn: str

    def connect(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True
        return connection

    def rows(self, query: str, *parameters: object) -> list[tuple]:
        """All rows of one query, on a connection of its own."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


class Cluster:
    """A cluster below `folder`, with TLS, and a password on TCP connections."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self._authority = authority

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        certificate = self._authority.issue("postgres")
        password = self.folder / "password"
        if not password.exists():
            password.touch(mode=0o600)
            password.write_text(secrets.token_urlsafe(18))
        tls = ["--cert", str(certificate.cert), "--key", str(certificate.key)]
        self._run("start", "--fast", *tls, "--password-file", str(password))

    def stop(self) -> None:
        self._run("stop")

    def is_running(self) -> bool:
        return subprocess.run([SCRIPT, "status", "--data", self.folder], capture_output=True).returncode == 0

    def ensure_running(self) -> None:
        if not self.is_running():
            self.start()

    @property
    def dsn(self) -> str:
        """The superuser's, for the database "postgres"; the server's certificate is verified."""
        dsn = (self.folder / "dsn").read_text().strip()
        return psycopg2.extensions.make_dsn(dsn, sslmode="verify-full", sslrootcert=str(self._authority.cert))

    def create_database(self) -> Database:
        name = f"test_{secrets.token_hex(6)}"
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return Database(name, psycopg2.extensions.make_dsn(self.dsn, dbname=name))

    def drop_database(self, database: Database) -> None:
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name)))

    def _execute(self, statement: sql.Composable) -> None:
        connection = psycopg2.connect(self.dsn)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _run(self, command: str, *options: str) -> None:
        run_script(SCRIPT, command, "--data", self.folder, *options)
