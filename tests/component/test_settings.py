"""What an operator does before the first start: --check, --describe-config, --help, and what the documents tell to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.kafka import Broker
from support.paths import PROGRAMS, ROOT

PROGRAM_NAMES = ["ingest", "mapper", "pusher"]
EXAMPLE = ROOT / "deploy/tandem.example.yaml"
BAD_CONFIG = 78
FAILED = 1
USAGE = 64
KAFKA = 71
HEX_KEY = "00112233445566778899aabbccddeeff" * 2

# The tables of keys, and where their section stands in which program.
TABLES = {
    "common/runtime/program.c": "program",
    "common/kafka/client.c": "kafka",
    "common/systems/credentials.c": "credentials",
    "common/systems/partner_center_settings.c": "partner_center",
    "common/systems/dynamics365_settings.c": "dynamics_365",
    "ingest/serve.c": "ingest.serve",
    "ingest/certificates.c": "ingest.signature",
    "ingest/fetch.c": "ingest.fetch",
    "ingest/poll.c": "ingest.poll",
    "ingest/backfill_settings.c": "ingest.backfill",
    "mapper/worker.c": "mapper",
    "pusher/postgres.c": "postgres",
    "pusher/worker.c": "pusher",
}
OF_ALL = {"program", "kafka"}
OF_PROGRAM = {
    "ingest": OF_ALL
    | {"credentials", "partner_center", "dynamics_365", "ingest.serve", "ingest.signature", "ingest.fetch", "ingest.poll", "ingest.backfill"},
    "mapper": OF_ALL | {"mapper"},
    "pusher": OF_ALL | {"credentials", "partner_center", "dynamics_365", "postgres", "pusher"},
}


def run(program: str, *arguments: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / f"tandem-{program}"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, stdin=subprocess.DEVNULL)


def good(program: str, *arguments: str | Path) -> str:
    result = run(program, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def described(program: str) -> dict[str, list[str]]:
    """The lines about each key."""
    paragraphs = good(program, "--describe-config").strip().split("\n\n")
    return {each.split()[0]: each.splitlines()[1:] for each in paragraphs}


def tables() -> dict[str, list[str]]:
    """Names of the keys of each section, from the code."""
    found: dict[str, list[str]] = {}
    for file in [each for folder in ("common", "ingest", "mapper", "pusher") for each in (ROOT / folder).rglob("*.c")]:
        path = file.relative_to(ROOT).as_posix()
        for table in re.findall(r"^const struct config_key \w+_KEYS\[\] = \{\n(.*?)^\};", file.read_text(), re.S | re.M):
            assert path in TABLES, f"{path} has a table this test does not know"
            found[TABLES[path]] = re.findall(r'\{\.name = "(\w+)"|KEY(?:_AS)?\("?(\w+)"?', table)
    return {section: [first or second for first, second in names] for section, names in found.items()}


# --- What can be configured -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_every_key_is_described(program: str) -> None:
    keys = {f"{section}.{key}" for section, keys in tables().items() for key in keys if section in OF_PROGRAM[program]}
    assert len(keys) > 15
    # The mapper reads one key of another's section.
    assert set(described(program)) == keys | ({"dynamics_365.columns"} if program == "mapper" else set())


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_description_tells_what_is_taken_and_what_for(program: str) -> None:
    for key, lines in described(program).items():
        text = " ".join(line.strip() for line in lines)
        assert re.search(r"; (required|no default|default: .+)", text), key
        assert lines[-1].endswith("."), f"{key}: {lines[-1]}"
        assert all(len(line) <= 110 for line in lines), key


def test_description_is_the_same_for_every_command() -> None:
    assert good("ingest", "topics", "--describe-config") == good("ingest", "--describe-config")
    assert good("ingest", "register", "--describe-config") == good("ingest", "--describe-config")
    assert good("pusher", "migrate", "--describe-config") == good("pusher", "--describe-config")


def test_keys_named_by_the_documents_are_there() -> None:
    known = {key for program in PROGRAM_NAMES for key in described(program)}
    sections = {key.rsplit(".", 1)[0] for key in known}
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"`((?:[a-z_0-9]+\.)+[a-z_0-9]+)`", document.read_text()):
            if name.rsplit(".", 1)[0] in sections and name not in sections and document.name != "simulators.md":
                events = re.search(rf'"{re.escape(name)}"', "".join(f.read_text() for f in ROOT.glob("*/*.c")))
                other = re.search(rf'"{re.escape(name)}"', "".join(f.read_text() for f in ROOT.glob("common/*/*.c")))
                assert name in known or events or other, f"{document.name}: {name}"


# --- The example ------------------------------------------------------------------------------------------------------


def make_files(folder: Path, text: str) -> None:
    """What the configuration names."""
    for secret in re.findall(r"\{file: ([^}]+)\}", text):
        path = folder / secret
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(HEX_KEY + "\n")
    for name in re.findall(r"(?:ca_file|tls_certificate|tls_key): ([^ {\n]+)", text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules/dynamics-365.yaml").write_text((ROOT / "deploy/rules/dynamics-365.yaml").read_text())


def filled_in(folder: Path) -> Path:
    text = re.sub(r"<(\w+)[^>]*>", r"\1", EXAMPLE.read_text()).replace("/var/lib/tandem/mapper", str(folder / "store"))
    make_files(folder, text)
    path = folder / "tandem.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_example_is_good_when_it_is_filled_in(tmp_path: Path, program: str) -> None:
    good(program, "--config", filled_in(tmp_path), "--check")


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_example_as_it_is_is_refused_at_every_place(program: str) -> None:
    result = run(program, "--config", EXAMPLE, "--check")
    assert (result.returncode, result.stdout) == (BAD_CONFIG, "")
    own = {section for section in OF_PROGRAM[program]}
    section = ""
    expected = []
    for number, line in enumerate(EXAMPLE.read_text().splitlines(), 1):
        if re.match(r"^[a-z_0-9]+:", line):
            section = line.split(":")[0]
        elif re.match(r"^  [a-z]+:$", line):
            section = f"{section.split('.')[0]}.{line.strip(' :')}"
        is_own = section in own
        if is_own and not line.startswith("#") and re.search(r"<\w|\{file: |(?:ca_file|tls_\w+): ", line):
            expected.append(number)
    told = [int(each) for each in re.findall(rf"^{EXAMPLE}:(\d+):\d+: error: ", result.stderr, re.MULTILINE)]
    assert set(expected) <= set(told) and len(told) == len(set(told))
    # Each with its line and a caret below; the store's directory may be there or not.
    assert set(told) - set(expected) <= {EXAMPLE.read_text()[: EXAMPLE.read_text().index("store_directory:")].count("\n") + 1}
    assert len(re.findall(r"^ *\^~*$", result.stderr, re.MULTILINE)) == len(told)


@pytest.mark.parametrize(
    ("program", "name", "told"),
    [
        ("ingest", "tls/receiver.key", "'tls_key': {path} is not there"),
        ("ingest", "secrets/partner-center.token", "secret file '{path}': No such file or directory"),
        ("mapper", "rules/dynamics-365.yaml", "'rules': {path} is not there"),
        ("pusher", "tls/postgres-ca.pem", "'ca_file': {path} is not there"),
    ],
)
def test_file_that_is_missing_is_told_at_its_key(tmp_path: Path, program: str, name: str, told: str) -> None:
    config = filled_in(tmp_path)
    (tmp_path / name).unlink()
    line = next(n for n, text in enumerate(config.read_text().splitlines(), 1) if name in text)
    result = run(program, "--config", config, "--check")
    assert (result.returncode, result.stdout) == (BAD_CONFIG, "")
    assert result.stderr.count(": error: ") == 1
    assert re.search(rf"^{config}:{line}:\d+: error: {re.escape(told.format(path=tmp_path / name))}$", result.stderr, re.M)


def test_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    config = filled_in(tmp_path)
    config.write_text(config.read_text().replace(str(tmp_path / "store"), str(tmp_path / "no/such/store")))
    result = run("mapper", "--config", config, "--check")
    assert result.returncode == BAD_CONFIG and "no/such/store cannot be made: the directory above it is not" in result.stderr


def test_registration_needs_no_certificate_of_the_receiver(tmp_path: Path) -> None:
    config = filled_in(tmp_path)
    (tmp_path / "tls/receiver.key").unlink()
    good("ingest", "register", "show", "--config", config, "--check")


# --- What the documents show ------------------------------------------------------------------------------------------


def yaml_blocks(document: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


def kafka_examples() -> list[str]:
    return [block for block in yaml_blocks("docs/operations.md") if block.startswith("kafka:")]


@pytest.mark.parametrize("number", range(2))
def test_kafka_examples_are_good_once_their_files_are_there(tmp_path: Path, number: int) -> None:
    (example,) = kafka_examples()[number : number + 1]
    files = re.findall(r"/etc/tandem/\S+", example)
    assert len(files) >= 2
    text = example.replace("/etc/tandem", str(tmp_path))
    config = tmp_path / "tandem.yaml"
    config.write_text(text)
    refused = run("ingest", "topics", "--config", config, "--check")
    assert refused.returncode == BAD_CONFIG and refused.stderr.count(": error: ") == len(files)
    for name in files:
        path = Path(name.replace("/etc/tandem", str(tmp_path)))
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text("secret\n")
    good("ingest", "topics", "--config", config, "--check")


def test_relative_paths_among_the_properties_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "tandem.yaml"
    config.write_text("kafka:\n  bootstrap_servers: b:1\n  properties: {ssl.ca.location: ca.pem}\n")
    result = run("ingest", "topics", "--config", config, "--check")
    assert f"{config}:3:33: error: 'ssl.ca.location' takes a whole path, which begins with a slash" in result.stderr


def test_example_of_rule_tests_passes_as_shown(tmp_path: Path) -> None:
    (example,) = yaml_blocks("docs/rules-tests.md")[:1]
    folder = tmp_path / "deploy/rules"
    folder.mkdir(parents=True)
    (folder / "dynamics-365.yaml").write_text((ROOT / "deploy/rules/dynamics-365.yaml").read_text())
    (folder / "example.test.yaml").write_text(example)
    result = run("mapper", "test", "deploy/rules/example.test.yaml", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    shown = (ROOT / "docs/rules-tests.md").read_text().split("$ tandem-mapper test deploy/rules/example.test.yaml\n")[1]
    assert shown.startswith("".join(f"    {line}\n" for line in result.stdout.splitlines()))


def test_preview_of_the_readme_prints_what_it_shows() -> None:
    text = (ROOT / "README.md").read_text()
    folder, options, shown = re.search(r"    \$ cd (\S+)\n    \$ tandem-mapper (preview .*)\n((?:    .*\n)+)", text).groups()
    result = run("mapper", *options.split(), folder=ROOT / folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert shown == "".join(f"    {line}\n" for line in result.stdout.splitlines())


# --- Commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "command", "words"),
    [
        ("ingest", "register", ["show ", "events ", "create --url", "test ", "dynamics-365 --url", "--show", "Exit status"]),
        ("ingest", "topics", ["--create", "Exit status: 0", "71", "78"]),
        ("mapper", "check", ["--config", "Exit status: 0", "78"]),
        ("mapper", "test", ["docs/rules-tests.md", "Exit status: 0", "1 when", "78"]),
        ("ingest", "read", ["--referral", "--opportunity", "personal data", "Exit status: 0", "1 when", "64", "71", "78"]),
        ("ingest", "backfill", ["--dry-run", "--report", "Exit status: 0", "Kafka or a system", "71", "78"]),
        ("mapper", "preview", ["--rules", "--base", "--deal", "--json", "'-'", "Exit status: 0", "64", "71", "78"]),
        ("mapper", "settle", ["--deal", "--field", "--take", "manual_conflicts", "Exit status: 0", "64", "1 when", "71", "78"]),
        ("mapper", "reference", ["docs/rules.md"]),
        ("pusher", "redrive", ["--since", "--deal", "--all", "--again", "Exit status: 0", "1 when", "64", "78"]),
        ("pusher", "migrate", ["--conninfo-file", "--dry-run", "Exit status: 0", "72", "78"]),
    ],
)
def test_help_tells_what_a_command_takes_and_answers(program: str, command: str, words: list[str]) -> None:
    text = good(program, command, "--help")
    assert [word for word in words if word not in text] == []
    assert command in good(program, "--help")


def test_settle_checks_without_settling(tmp_path: Path) -> None:
    assert "rules" in good("mapper", "settle", "--config", filled_in(tmp_path), "--check")
    assert "store_directory" in good("mapper", "settle", "--config", filled_in(tmp_path), "--print-config")


def asked_about_a_deal(folder: Path, kafka: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """With `kafka` for the brokers' addresses; conflicts of the notes are left to a person."""
    path = filled_in(folder)
    path.write_text(re.sub(r"bootstrap_servers: .*", kafka, path.read_text()))
    rules = folder / "rules/dynamics-365.yaml"
    text, count = re.subn(r"(- name: notes\n(?:.+\n)*? +conflict: ).*", r"\g<1>manual", rules.read_text())
    assert count == 1
    rules.write_text(text)
    return run("mapper", *command, "--config", path)


ABOUT_A_DEAL = pytest.mark.parametrize(
    "command",
    [
        ["settle", "--deal", "a", "--field", "notes", "--take", "crm"],
        ["preview", "--deal", "a", "-", "-"],
    ],
    ids=lambda command: command[0],
)


@ABOUT_A_DEAL
def test_commands_about_a_deal_end_with_one_without_kafka(tmp_path: Path, command: list[str]) -> None:
    result = asked_about_a_deal(tmp_path, "bootstrap_servers: 127.0.0.1:1", command)
    assert result.returncode == FAILED
    assert f"tandem-mapper {command[0]}: list of topics: " in result.stderr


@ABOUT_A_DEAL
def test_commands_about_a_deal_tell_a_wrong_configuration_of_kafka_as_that(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "ca.pem").write_text("no certificate\n")
    properties = f"{{security.protocol: ssl, ssl.ca.location: {tmp_path}/ca.pem}}"
    result = asked_about_a_deal(tmp_path, f"bootstrap_servers: 127.0.0.1:1\n  properties: {properties}", command)
    assert result.returncode == BAD_CONFIG
    assert "librdkafka refuses the settings" in result.stderr


def test_settling_what_no_person_settles_is_wrong_use(tmp_path: Path) -> None:
    wants = "--take wants partner-center or crm"
    for field, says in {"notes2": "no field 'notes2'", "name": "not left to a person"}.items():
        for take, also in {"crm": False, "both": True}.items():
            command = ["settle", "--deal", "a", "--field", field, "--take", take]
            result = asked_about_a_deal(tmp_path, "bootstrap_servers: 127.0.0.1:1", command)
            assert result.returncode == USAGE and says in result.stderr and (wants in result.stderr) == also


def test_too_few_brokers_for_the_replicas_are_told_with_what_to_do(tmp_path: Path, broker: Broker) -> None:
    config = tmp_path / "tandem.yaml"
    config.write_text(f'kafka: {{bootstrap_servers: "{broker.bootstrap}", topic_prefix: replicas.}}\n')
    result = run("ingest", "topics", "--create", "--config", config)
    assert result.returncode == KAFKA
    assert "kafka.replication_factor is 3, but the cluster has 1 broker; set it to 1 at most" in result.stderr
    assert result.stderr.count("\n") == 1
