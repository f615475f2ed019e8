"""Rotated refresh tokens: sealed in Kafka, taken over by every instance, safe against a crash right after a rotation."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from support.ingest import FIRST_REFRESH_TOKEN, Ingest, notification, value_of
from support.simulators import PartnerCenter
from support.tls import Authority
from support.topics import Topics
from support.waiting import wait_until

TOKEN = "/oauth2/token"


@pytest.fixture
def ingest(tmp_path: Path, topics: Topics, authority: Authority, partner_center: PartnerCenter) -> Ingest:
    """Each use of a refresh token ends it at once."""
    partner_center.settings(refresh_rotation="revoke-old")
    return Ingest(tmp_path, topics, authority, partner_center)


def read_one(ingest: Ingest) -> None:
    """A new deal is read by whoever runs."""
    referral = ingest.partner_center.add_referral(kind="partner-led")
    ingest.notify(notification(referral["id"]))
    ingest.records(until=lambda records: referral["id"] in [value_of(record)["deal_key"] for record in records])


def refused(ingest: Ingest) -> list[int]:
    return [entry["status"] for entry in ingest.partner_center.journal(path=TOKEN) if entry["status"] != 200]


@pytest.mark.asan
def test_the_next_start_goes_on_with_the_rotated_token(ingest: Ingest) -> None:
    for _ in range(3):
        with ingest.fetcher() as program:
            read_one(ingest)
            assert program.stop() == 0
    # The configured token was good for the first start only.
    assert len(ingest.partner_center.journal(path=TOKEN)) == 3
    assert refused(ingest) == []


def test_the_topic_shows_no_token(ingest: Ingest) -> None:
    with ingest.fetcher() as program:
        read_one(ingest)
        transcript = program.transcript(1000)
    message = ingest.topics.read("credentials")[-1]
    assert message.key == b"partner-center"
    value = json.loads(message.value or b"")
    assert set(value) == {"account", "sealed", "saved_at"}
    used = [entry["body"] for entry in ingest.partner_center.journal(path=TOKEN)]
    assert used and "0.Sim" not in (message.value or b"").decode() + transcript
    assert FIRST_REFRESH_TOKEN not in (message.value or b"").decode() + transcript
    assert ingest.key not in transcript


def test_the_token_is_durable_before_it_is_used(ingest: Ingest) -> None:
    referral = ingest.partner_center.add_referral(kind="partner-led")
    ingest.notify(notification(referral["id"]))
    with ingest.fetcher():
        record = ingest.records(1)[0]
    saved = ingest.topics.read("credentials")
    assert len(saved) == 1
    assert saved[0].timestamp_ms <= record.timestamp_ms


def test_killed_right_after_a_rotation_the_next_start_signs_in(ingest: Ingest) -> None:
    # The service lets a used token live on for a moment, which is what a crash before the save has to live on.
    ingest.partner_center.settings(refresh_grace_ms=60000)
    for _ in range(4):
        ingest.partner_center.admin("POST", "/_sim/tokens/expire", {})
        before = len(ingest.partner_center.journal(path=TOKEN))
        program = ingest.fetcher().start()
        try:
            referral = ingest.partner_center.add_referral(kind="partner-led")
            ingest.notify(notification(referral["id"]))
            wait_until(lambda: len(ingest.partner_center.journal(path=TOKEN)) > before, 30, "a token was rotated")
            program.kill()
        finally:
            program.stop()
    with ingest.fetcher():
        read_one(ingest)
    assert refused(ingest) == []


def test_killed_after_the_save_even_a_strict_service_lets_us_in(ingest: Ingest) -> None:
    for count in range(1, 4):
        program = ingest.fetcher().start()
        try:
            read_one(ingest)
            program.kill()
        finally:
            program.stop()
        assert len(ingest.topics.read("credentials")) == count
    with ingest.fetcher():
        read_one(ingest)
    assert refused(ingest) == []


@pytest.mark.asan
def test_a_rotation_by_one_instance_is_taken_over_by_the_other(ingest: Ingest) -> None:
    with ingest.fetcher("one") as one, ingest.fetcher("two") as two:
        for program in (one, two):
            program.wait_for("program.ready")
        rotated = 0
        # Whoever gets the notification rotates the token, and the other learns of it.
        while not (one.events("credentials.saved") and two.events("credentials.saved")):
            assert rotated < 40, "one instance got no notification at all"
            read_one(ingest)
            rotated = len(ingest.topics.read("credentials"))
            for program in (one, two):
                wait_until(lambda: len(program.events("credentials.read")) >= rotated, 20, "every instance has read it")
            ingest.partner_center.admin("POST", "/_sim/tokens/expire", {})
    assert refused(ingest) == []


def test_a_wrong_key_ends_the_start_and_names_the_account(ingest: Ingest) -> None:
    with ingest.fetcher():
        read_one(ingest)
    ingest.key = secrets.token_hex(32)
    with ingest.fetcher() as program:
        assert program.wait() == 78
        text = program.transcript(1000)
        assert "credentials.wrong_key" in text and "partner-center" in text
        assert ingest.key not in text
    assert refused(ingest) == []


@pytest.mark.asan
def test_the_key_is_replaced_with_the_topic_and_a_new_sign_in(ingest: Ingest) -> None:
    """As docs/operations.md tells it."""
    with ingest.fetcher() as program:
        read_one(ingest)
        assert program.stop() == 0
    admin = AdminClient({"bootstrap.servers": ingest.topics.bootstrap})
    name = ingest.topics.name("credentials")
    admin.delete_topics([name])[name].result(20)
    wait_until(lambda: "credentials" not in ingest.topics.existing(), 20, "the topic is gone")
    created = ingest.run("topics", "--create")
    assert created.returncode == 0 and f"{name}: created" in created.stdout
    ingest.key = secrets.token_hex(32)
    ingest.refresh_token = f"person-signed-in-{secrets.token_hex(8)}"
    ingest.partner_center.admin("POST", "/_sim/tokens/issue", {"value": ingest.refresh_token})
    for _ in range(2):
        with ingest.fetcher() as program:
            read_one(ingest)
            assert program.stop() == 0
    assert refused(ingest) == []


@pytest.mark.asan
def test_a_malformed_key_is_told_at_its_place(ingest: Ingest) -> None:
    ingest.key = "not a key"
    result = ingest.run("--role", "fetch", "--check")
    assert result.returncode == 78
    assert "credentials.key" in result.stderr and "not a key" not in result.stderr


def test_a_new_sign_in_is_preferred_to_what_the_topic_holds(ingest: Ingest) -> None:
    with ingest.fetcher() as program:
        read_one(ingest)
        assert program.stop() == 0
    ingest.partner_center.admin("POST", "/_sim/tokens/revoke", {})
    fresh = f"person-signed-in-{secrets.token_hex(8)}"
    ingest.partner_center.admin("POST", "/_sim/tokens/issue", {"value": fresh})
    ingest.refresh_token = fresh
    for _ in range(2):
        with ingest.fetcher() as program:
            read_one(ingest)
            assert program.stop() == 0
    assert refused(ingest) == []


def test_an_instance_with_the_old_configuration_follows_the_new_sign_in(ingest: Ingest) -> None:
    with ingest.fetcher("old") as old:
        read_one(ingest)
        ingest.partner_center.admin("POST", "/_sim/tokens/revoke", {})
        fresh = f"person-signed-in-{secrets.token_hex(8)}"
        ingest.partner_center.admin("POST", "/_sim/tokens/issue", {"value": fresh})
        ingest.refresh_token = fresh
        result = ingest.run("register", "events")
        assert result.returncode == 0, result.stderr
        old.wait_for("ingest.credentials_renewed")
        ingest.partner_center.admin("POST", "/_sim/tokens/expire", {})
        read_one(ingest)
    ingest.refresh_token = FIRST_REFRESH_TOKEN
    with ingest.fetcher("old"):
        read_one(ingest)
    assert refused(ingest) == []
