"""The default rules, changed as whoever runs Tandem would change a copy of them: as text, so that comments stay."""

from __future__ import annotations

import re

import yaml

from support.paths import ROOT

RULES = ROOT / "deploy/rules/dynamics-365.yaml"
# A field in comments, up to the line that ends it.
COMMENTED = re.compile(r"^  # - name: (\w+)\n(?:  #   .*\n)+", re.MULTILINE)


def with_policies(rules: str, policies: dict[str, str]) -> str:
    """Conflict policies, by field."""
    for field, policy in policies.items():
        # Within the field's own lines, which end at the first empty one.
        rules, count = re.subn(rf"(- name: {field}\n(?:.+\n)*? +conflict: ).*", rf"\g<1>{policy}", rules)
        assert count == 1, f"field {field} has no policy to be changed"
    return rules


def with_removal(rules: str, policies: dict[str, str]) -> str:
    """What becomes of a deal whose record leaves."""
    for removal, policy in policies.items():
        rules, count = re.subn(rf"^(  {removal}: ).*", rf"\g<1>{policy}", rules, flags=re.MULTILINE)
        assert count == 1, f"there is no removal {removal}"
    return rules


def commented(rules: str) -> list[str]:
    """The fields that stand in comments, for whoever wants them."""
    return COMMENTED.findall(rules)


def switched_on(rules: str, *fields: str) -> str:
    """These fields taken out of their comments, in place of the field of the same name where there is one."""
    for field in fields:
        [block] = [match[0] for match in COMMENTED.finditer(rules) if match[1] == field]
        live = re.sub(r"^  # ", "  ", block, flags=re.MULTILINE)
        former = re.compile(rf"^  - name: {field}\n(?:    .*\n)+", re.MULTILINE)
        rules = former.sub("", rules).replace(block, live)
        assert [each["name"] for each in yaml.safe_load(rules)["fields"]].count(field) == 1, field
    return rules
