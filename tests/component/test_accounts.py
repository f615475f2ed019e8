"""docs/accounts.md: the sign-in it describes gives a refresh token that Tandem works with."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from support.ingest import Ingest
from support.paths import ROOT
from support.simulators import PartnerCenter
from support.tls import Authority
from support.topics import Topics

DOCUMENT = (ROOT / "docs/accounts.md").read_text()
CLIENT_ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def ingest(tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter) -> Ingest:
    return Ingest(tmp_path, topics, authority, partner_center)


def exchange(ingest: Ingest, code: str) -> subprocess.CompletedProcess[str]:
    """The commands of the document, as they stand there but for what is to be put in."""
    [block] = re.findall(r"\n +umask 077\n(?: .*\n)+", DOCUMENT)
    commands = textwrap.dedent(re.sub(r"^ {7}(?=print)", " " * 7, block, flags=re.MULTILINE))
    for word, value in {
        "https://login.microsoftonline.com/TENANT": f"{ingest.partner_center.url}/fabrikam.example",
        "CLIENT_ID": CLIENT_ID,
        "CODE": code,
    }.items():
        assert word in commands
        commands = commands.replace(word, value)
    return subprocess.run(
        ["bash", "-c", commands],
        cwd=ingest.folder,
        env={**os.environ, "CURL_CA_BUNDLE": str(ingest.ca)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_sign_in_of_the_document_gives_a_token_that_works(ingest: Ingest) -> None:
    secrets = ingest.folder / "secrets"
    secrets.mkdir()
    (secrets / "partner-center.secret").write_text("simulated-client-secret\n")
    done = exchange(ingest, ingest.partner_center.admin("POST", "/_sim/tokens/code")["code"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    token = secrets / "partner-center.token"
    assert token.stat().st_mode & 0o077 == 0
    ingest.refresh_token = token.read_text().strip()
    assert ingest.refresh_token.startswith("0.Sim")
    assert ingest.run("register", "show").returncode == 0
    referral = ingest.partner_center.add_referral(kind="private")["id"]
    assert ingest.run("read", "--referral", referral).returncode == 0


def test_code_that_is_not_good_is_told_and_no_token_is_lost(ingest: Ingest) -> None:
    secrets = ingest.folder / "secrets"
    secrets.mkdir()
    (secrets / "partner-center.secret").write_text("simulated-client-secret\n")
    (secrets / "partner-center.token").write_text("the one before\n")
    done = exchange(ingest, "0.none")
    assert done.returncode != 0 and "AADSTS70000" in done.stderr
    assert (secrets / "partner-center.token").read_text() == "the one before\n"


def test_numbers_of_the_document_stand_in_the_log(ingest: Ingest) -> None:
    numbers = [
        number
        for row in re.findall(r"^\| (\d[\d, ]+) \|", DOCUMENT, re.MULTILINE)
        for number in row.split(", ")
    ]
    assert len(numbers) == 7
    for number in numbers:
        ingest.partner_center.settings(token_error=int(number))
        refused = ingest.run("register", "show")
        assert refused.returncode == 1
        [blocked] = [line for line in refused.stderr.splitlines() if '"token.blocked"' in line]
        assert number in blocked, blocked
