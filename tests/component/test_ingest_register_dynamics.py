"""tandem-ingest register dynamics-365: the webhooks of an organisation, made, shown, compared, repaired, and delivered."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ingest_receiver import SECRET, Receiver
from support.ingest import yaml_of
from support.paths import PROGRAMS, ROOT
from support.simulators import Dynamics365
from support.systems import DYNAMICS_CLIENT, DYNAMICS_SECRET, DYNAMICS_TENANT
from support.tls import Authority
from support.topics import Topics

URL = "https://hooks.fabrikam.example/webhooks/dynamics-365"
OTHER = "https://flows.example/trigger/7"
COLUMNS = ["name", "estimatedvalue", "transactioncurrencyid.isocurrencycode", "opportunityratingcode@label"]
FILTER = "estimatedvalue,name,opportunityratingcode,statecode,statuscode,transactioncurrencyid"
MESSAGES = ["Create", "Update", "Delete", "Win", "Lose"]

pytestmark = pytest.mark.asan


class Register:
    """The command, with a configuration in which no Kafka is there: it needs none."""

    def __init__(self, folder: Path, authority: Authority, simulator: Dynamics365) -> None:
        self.folder = folder
        self.simulator = simulator
        self.dynamics_365: dict[str, Any] = {
            "url": simulator.url,
            "login_url": simulator.url,
            "tenant": DYNAMICS_TENANT,
            "client_id": DYNAMICS_CLIENT,
            "client_secret": self.secret("application", DYNAMICS_SECRET),
            "ca_file": str(authority.cert),
            "columns": COLUMNS,
            "child_tables": {},
        }
        self.serve: dict[str, Any] = {"dynamics_365_secret": self.secret("webhook", SECRET)}

    def secret(self, name: str, value: str) -> dict[str, str]:
        path = self.folder / f"{name}.secret"
        path.touch(mode=0o600)
        path.write_text(value + "\n")
        return {"file": str(path)}

    def config(self) -> Path:
        path = self.folder / "tandem.yaml"
        # A mapping without members is written as JSON.
        path.write_text(
            yaml_of({"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "ingest": {"serve": self.serve}})
            + "dynamics_365: "
            + json.dumps(self.dynamics_365)
            + "\n"
        )
        return path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAMS / "tandem-ingest", "register", "dynamics-365", *arguments, "--config", self.config()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def good(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def rows(self, entity_set: str) -> list[dict[str, Any]]:
        rows = self.simulator.rows(entity_set)
        return rows["value"] if isinstance(rows, dict) else rows

    def endpoint(self) -> dict[str, Any]:
        (endpoint,) = self.rows("serviceendpoints")
        return endpoint

    def steps(self) -> dict[str, dict[str, Any]]:
        """By their names."""
        return {step["name"]: step for step in self.rows("sdkmessageprocessingsteps")}

    def writes(self) -> list[str]:
        """What was changed since the journal was cleared."""
        entries = self.simulator.journal(path="/api/data")
        changes = [entry for entry in entries if entry["method"] != "GET"]
        self.simulator.clear_journal()
        return [f"{entry['method']} {entry['path'].rsplit('/', 1)[1].split('(')[0]}" for entry in changes]


@pytest.fixture
def register(tmp_path: Path, authority: Authority, dynamics_365: Dynamics365) -> Register:
    return Register(tmp_path, authority, dynamics_365)


# --- Making -----------------------------------------------------------------------------------------------------------


def test_everything_is_made_where_nothing_is(register: Register) -> None:
    output = register.good("--url", URL)

    endpoint = register.endpoint()
    assert (endpoint["name"], endpoint["url"], endpoint["contract"], endpoint["authtype"]) == ("Tandem", URL, 8, 5)
    steps = register.steps()
    assert sorted(steps) == sorted(f"Tandem: {message} of opportunity" for message in MESSAGES)
    for step in steps.values():
        assert (step["mode"], step["stage"], step["asyncautodelete"], step["statecode"]) == (1, 40, True, 0)
        assert step["_eventhandler_value"] == endpoint["serviceendpointid"]
    assert steps["Tandem: Update of opportunity"]["filteringattributes"] == FILTER
    assert steps["Tandem: Create of opportunity"]["filteringattributes"] is None
    assert output.endswith("registered as asked\n") and output.count("added ") == 6


def test_second_run_changes_nothing(register: Register) -> None:
    register.good("--url", URL)
    register.writes()

    assert register.good("--url", URL).endswith("everything is registered\n")
    assert register.good("--url", URL, "--replace").endswith("everything is registered\n")
    assert register.writes() == []


@pytest.mark.parametrize("failing", range(1, 6))
def test_interrupted_run_is_finished_by_the_next(register: Register, failing: int) -> None:
    register.simulator.fault("drop", "POST", "/api/data", skip=failing, times=1)
    assert register.run("--url", URL).returncode == 1
    register.simulator.clear_faults()

    register.good("--url", URL)

    assert sorted(register.steps()) == sorted(f"Tandem: {message} of opportunity" for message in MESSAGES)
    assert len(register.rows("sdkmessageprocessingsteps")) == len(MESSAGES)


def test_lost_answer_makes_nothing_twice(register: Register) -> None:
    register.simulator.fault("apply-then-drop", "POST", "serviceendpoints")
    assert register.run("--url", URL).returncode == 1

    register.good("--url", URL)

    assert len(register.rows("serviceendpoints")) == 1


def test_secret_stands_in_no_output(register: Register) -> None:
    result = register.run("--url", URL)

    assert SECRET not in result.stdout + result.stderr


def test_events_reach_a_running_serve(
    register: Register, tmp_path: Path, authority: Authority, topics: Topics, dynamics_365: Dynamics365
) -> None:
    """The secret that was registered is the one that serve asks for, whichever way it is sent."""
    with Receiver(tmp_path / "receiver", authority, topics) as receiver:
        receiver.ready()
        url = f"https://127.0.0.1:{receiver.port}/webhooks/dynamics-365"
        register.good("--url", url)
        first = dynamics_365.add_row("opportunities", name="Archive")["opportunityid"]
        dynamics_365.edit_row("opportunities", first, description="not among the columns")
        dynamics_365.edit_row("opportunities", first, name="Renamed")

        told = [json.loads(record.value) for record in topics.read("notifications", 2)]
        assert {(each["event"], each["record_id"]) for each in told} == {("Create", first), ("Update", first)}

        register.good("--url", url, "--webhook-key", "--replace")
        second = dynamics_365.add_row("opportunities", name="Archive")["opportunityid"]
        assert json.loads(topics.read("notifications", 3)[-1].value)["record_id"] == second
        assert receiver.stop() == 0


# --- Comparing --------------------------------------------------------------------------------------------------------


def test_show_changes_nothing_and_says_whether_all_is_there(register: Register) -> None:
    missing = register.run("--show", "--url", URL)
    assert missing.returncode == 1 and "missing" in missing.stdout
    assert register.writes() == []

    register.good("--url", URL)
    register.writes()
    shown = register.good("--show")
    assert "as wanted" in shown and "its secret is not compared" in shown
    assert "as wanted" in register.good("--show", "--url", URL)
    other = register.run("--show", "--url", OTHER)
    assert other.returncode == 1 and URL in other.stdout and OTHER in other.stdout
    assert register.writes() == []


def test_show_needs_no_secret(register: Register) -> None:
    register.serve = {"listen": "127.0.0.1:0"}

    assert register.run("--show").returncode == 1
    result = register.run("--url", URL)
    assert result.returncode != 0 and "dynamics_365_secret" in result.stdout + result.stderr
    assert register.writes() == []


def test_other_address_is_replaced_only_if_asked_for(register: Register) -> None:
    register.good("--url", OTHER)
    register.writes()

    refused = register.run("--url", URL)
    assert refused.returncode == 1 and "--replace" in refused.stderr
    assert OTHER in refused.stdout, "the value to go back to"
    assert register.writes() == []

    assert "changed" in register.good("--url", URL, "--replace")
    assert register.endpoint()["url"] == URL
    assert register.writes() == ["PATCH serviceendpoints"]


def test_columns_that_were_added_are_a_difference(register: Register) -> None:
    register.good("--url", URL)
    register.writes()
    register.dynamics_365["columns"] = [*COLUMNS, "customerid_account.name", "description"]

    refused = register.run("--url", URL)
    assert refused.returncode == 1 and "filteringattributes" in refused.stdout

    register.good("--url", URL, "--replace")
    now = register.steps()["Tandem: Update of opportunity"]["filteringattributes"]
    assert set(now.split(",")) == {*FILTER.split(","), "customerid", "description"}
    assert register.writes() == ["PATCH sdkmessageprocessingsteps"]


def test_nothing_is_added_while_something_differs(register: Register) -> None:
    """A new step at an endpoint with another address would send events there."""
    register.good("--url", OTHER)
    step = register.steps()["Tandem: Delete of opportunity"]
    register.simulator.delete_row("sdkmessageprocessingsteps", step["sdkmessageprocessingstepid"])
    register.writes()

    result = register.run("--url", URL)

    assert result.returncode == 1 and "missing" in result.stdout
    assert register.writes() == []


def test_step_that_was_switched_off_is_switched_on_again(register: Register) -> None:
    register.good("--url", URL)
    step = register.steps()["Tandem: Update of opportunity"]
    register.simulator.edit_row(
        "sdkmessageprocessingsteps", step["sdkmessageprocessingstepid"], statecode=1, statuscode=2
    )

    assert register.run("--url", URL).returncode == 1
    register.good("--url", URL, "--replace")
    assert register.steps()["Tandem: Update of opportunity"]["statecode"] == 0


def test_steps_beyond_the_wanted_are_removed_only_if_asked_for(register: Register) -> None:
    register.good("--url", URL)
    columns = ("mode", "stage", "rank", "name")
    extra = {name: register.steps()["Tandem: Create of opportunity"][name] for name in columns}
    step = register.steps()["Tandem: Create of opportunity"]
    binds = {
        "sdkmessageid@odata.bind": f"/sdkmessages({step['_sdkmessageid_value']})",
        "sdkmessagefilterid@odata.bind": f"/sdkmessagefilters({step['_sdkmessagefilterid_value']})",
        "eventhandler_serviceendpoint@odata.bind": f"/serviceendpoints({step['_eventhandler_value']})",
    }
    register.simulator.add_row("sdkmessageprocessingsteps", **extra, **binds)
    register.writes()

    refused = register.run("--url", URL)
    assert refused.returncode == 1 and "not wanted" in refused.stdout

    assert "removed" in register.good("--url", URL, "--replace")
    assert register.writes() == ["DELETE sdkmessageprocessingsteps"]
    assert len(register.rows("sdkmessageprocessingsteps")) == len(MESSAGES)


def test_secret_is_written_again_when_asked_for(register: Register) -> None:
    register.good("--url", URL)
    register.writes()

    register.good("--url", URL, "--replace", "--new-secret")

    assert register.writes() == ["PATCH serviceendpoints"]


def test_registrations_of_others_are_left_alone(register: Register) -> None:
    register.simulator.add_webhook(url=OTHER, messages=["Update"], table="opportunity")
    theirs = register.rows("sdkmessageprocessingsteps")

    register.good("--url", URL, "--replace")

    now = register.rows("sdkmessageprocessingsteps")
    assert [step for step in now if step in theirs] == theirs
    assert len(now) == len(MESSAGES) + len(theirs)


# --- What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--url", "http://hooks.fabrikam.example/x"),
        ("--url", "https://HOST/webhooks/dynamics-365"),
        ("--show", "--url", "https://HOST:443/webhooks/dynamics-365"),
        ("--url", URL, "--new-secret"),
        ("--show", "--replace"),
        ("--url", URL, "--overwrite"),
        ("--show", "--json"),
    ],
)
def test_bad_usage_asks_nobody(register: Register, arguments: tuple[str, ...]) -> None:
    result = register.run(*arguments)

    assert result.returncode == 64 and result.stderr
    assert register.simulator.journal() == []


def test_table_that_is_not_there_is_told_before_anything_is_made(register: Register) -> None:
    register.dynamics_365["child_tables"] = {"no_such_table": "opportunityid"}

    result = register.run("--url", URL)

    assert result.returncode == 1
    assert "no_such_table" in result.stderr and "child_tables" in result.stderr
    assert register.writes() == []


@pytest.mark.parametrize(
    ("key", "value"), [("columns", ["name,other"]), ("columns", ["a[].b[].c"]), ("child_tables", {"a b": "c"})]
)
def test_names_that_cannot_be_are_told_by_check(register: Register, key: str, value: Any) -> None:
    register.dynamics_365[key] = value

    result = register.run("--show", "--check")

    assert result.returncode == 78 and f"dynamics_365.{key}" in result.stderr


@pytest.mark.parametrize(("status", "word"), [(401, "sign-in"), (403, "System Customizer"), (500, "answered 500")])
def test_refusals_are_told_in_words(register: Register, status: int, word: str) -> None:
    register.simulator.fault("status", "GET", "serviceendpoints", times=None, status=status)

    result = register.run("--show")

    assert result.returncode == 1 and word in result.stderr
    assert result.stderr.startswith("tandem-ingest: ") and result.stderr.count("\n") == 1


def test_port_the_service_does_not_take_is_told_in_its_words(register: Register) -> None:
    register.simulator.settings(webhook_standard_ports_only=True)

    result = register.run("--url", "https://hooks.fabrikam.example:8443/webhooks/dynamics-365")

    assert result.returncode == 1 and "port 443" in result.stderr


@pytest.mark.parametrize("body", [{}, {"value": 7}, {"value": [], "@odata.nextLink": "https://x.example/?a"}])
def test_list_that_is_no_whole_list_changes_nothing(register: Register, body: Any) -> None:
    """What is not seen would be made once more."""
    register.simulator.fault("status", "GET", "serviceendpoints", status=200, body=body)

    assert register.run("--url", URL).returncode == 1
    assert register.writes() == []


def test_help_tells_the_options(register: Register) -> None:
    result = subprocess.run(
        [PROGRAMS / "tandem-ingest", "register", "dynamics-365", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--overwrite" not in result.stdout and "--events" not in result.stdout
    for word in ("dynamics-365", "--replace", "--show", "--new-secret", "--webhook-key"):
        assert word in result.stdout
