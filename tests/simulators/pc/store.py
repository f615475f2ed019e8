"""The referrals of the simulated world: ours and, in the same engagements, Microsoft's. No HTTP in here."""

from __future__ import annotations

import collections
import copy
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chassis import TICKS_PER_SECOND, AdminError, Setting, iso7, merge
from pc import presets, rules
from pc.rules import Refused

if TYPE_CHECKING:
    from partner_center import PartnerCenter

API_BASE = "https://api.partner.microsoft.com/v1.0/engagements/referrals"
EVENT_BASE = "https://api.partnercenter.microsoft.com/engagements/v1/referrals"
ANSWER_DAYS = 14
HISTORY_SECONDS = 300

STORE_SETTINGS: dict[str, Setting] = {
    "create_validation": Setting("practice", "members a POST needs", ("practice", "documented")),
    "unknown_members": Setting("refuse", "read-only and unknown members in a POST", ("refuse", "ignore")),
    "invite": Setting("second-post", "what brings Microsoft into a shared deal", ("second-post", "first-post")),
    "invite_private": Setting("upgrade", "Microsoft invited to a deal it cannot see", ("upgrade", "refuse")),
    "invite_needs_help": Setting(False, "inviting Microsoft needs a code of the help that is wanted"),
    "contact_phone": Setting(True, "asking for help needs a customer contact with a phone number"),
    "team_phone": Setting(False, "a POST needs a phone number for each of the own team"),
    "close_unanswered": Setting("declined", "how a referral that is New can be closed", ("declined", "any")),
    "decline_reason": Setting(True, "declining needs a statusReason"),
    "second_invite": Setting("duplicate", "Microsoft invited twice to one deal", ("duplicate", "409")),
    "name_patchable": Setting(False, "PATCH takes /name"),
    "patch_atomic": Setting(True, "a refused operation undoes those before it"),
    "new_editable": Setting(
        "external-reference", "what a PATCH may change while New", ("external-reference", "all", "none")
    ),
    "contacts_after_share": Setting("allow", "customer contacts of a deal that asked for help", ("allow", "refuse")),
    "etag_conflict_code": Setting(
        "preconditionFailed", "error code with 412", ("preconditionFailed", "resourceModified")
    ),
    "related_get": Setting("visible", "GET of Microsoft's referral by id", ("visible", "403", "404")),
    "related_in_lists": Setting("engagement", "lists that show Microsoft's referrals", ("engagement", "always")),
    "related_event_id": Setting("related", "referral that related-* events name", ("related", "own")),
    "related_moves_own": Setting(False, "Microsoft's change moves our updatedDateTime and eTag, with an event"),
    "msx_id_on": Setting("related", "referral that gets Microsoft's CRM id", ("related", "own", "both")),
    "list_lag_ms": Setting(0, "lists show the state this long ago"),
    "echo_events": Setting(True, "changes through the API raise events as well"),
}


class Referral:
    """One referral. `document` is never changed in place, so that past states stay readable."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.visible = "visible"
        self.history: collections.deque[tuple[float, dict[str, Any]]] = collections.deque()

    @property
    def is_related(self) -> bool:
        return self.document["organizationId"] == presets.MICROSOFT["organizationId"]

    def put(self, document: dict[str, Any]) -> None:
        now = time.monotonic()
        self.document = document
        self.history.append((now, document))
        while len(self.history) > 2 and self.history[1][0] < now - HISTORY_SECONDS:
            self.history.popleft()

    def as_of(self, lag_ms: int) -> dict[str, Any] | None:
        """The state that long ago, None if there was none yet."""
        limit = time.monotonic() - lag_ms / 1000
        return next((document for moment, document in reversed(self.history) if moment <= limit), None)


def _with_exact_value(document: dict[str, Any]) -> dict[str, Any]:
    """The service shows a deal's value with its decimal point, also where an admin call had a whole number."""
    details = document.get("details")
    if isinstance(details, dict) and type(details.get("dealValue")) is int:
        details["dealValue"] = Decimal(details["dealValue"])
    return document


class Store:
    """All referrals, the changes to them and the events these raise."""

    def __init__(self, simulator: PartnerCenter) -> None:
        self.simulator = simulator
        self.referrals: dict[str, Referral] = {}
        self._engagements: dict[str, list[Referral]] = {}
        self._tags = 0
        self._made = 0

    def reset(self) -> None:
        self.referrals.clear()
        self._engagements.clear()
        self._tags = 0
        self._made = 0

    # Looking.

    def get(self, identifier: str) -> Referral:
        """A referral as the API shows it to our user."""
        found = self.referrals.get(identifier.lower())
        if found is None:
            raise Refused("", 404, "itemNotFound")
        visible = found.visible
        if visible == "visible" and found.is_related:
            visible = self.simulator.settings["related_get"]
        if visible == "404":
            raise Refused("", 404, "itemNotFound")
        if visible == "403":
            raise Refused("", 403, "accessDenied")
        return found

    def listed(self, by_engagement: bool) -> list[dict[str, Any]]:
        settings = self.simulator.settings
        related = by_engagement or settings["related_in_lists"] == "always"
        lag = settings["list_lag_ms"]
        documents = []
        for referral in self.referrals.values():
            if referral.visible != "visible" or (referral.is_related and not related):
                continue
            document = referral.as_of(lag) if lag else referral.document
            if document is not None:
                documents.append(document)
        return documents

    def engagement(self, identifier: str) -> list[Referral]:
        return self._engagements.get(identifier, [])

    def ours(self, engagement: str) -> Referral | None:
        return next((referral for referral in self.engagement(engagement) if not referral.is_related), None)

    # Changing.

    def _add(self, document: dict[str, Any]) -> Referral:
        ids = self.simulator.ids
        document["id"] = document["id"] or ids.uuid()
        document["engagementId"] = document["engagementId"] or ids.uuid()
        ticks = self.simulator.clock.ticks()
        document["createdDateTime"] = document["createdDateTime"] or iso7(ticks)
        if document["status"] == "Active" and not document["acceptedDateTime"]:
            document["acceptedDateTime"] = document["createdDateTime"]
        if document["status"] == "New" and not document["expirationDateTime"]:
            document["expirationDateTime"] = iso7(ticks + ANSWER_DAYS * 86400 * TICKS_PER_SECOND)
        if document["status"] == "Closed" and not document["closedDateTime"]:
            document["closedDateTime"] = document["createdDateTime"]
        document["links"] = {
            "relatedReferrals": {
                "uri": f"{API_BASE}?$filter=engagementId eq {document['engagementId']}",
                "method": "GET",
            },
            "self": {"uri": f"{API_BASE}/{document['id']}", "method": "GET"},
        }
        referral = Referral(document)
        self._stamp(document, ticks)
        referral.put(document)
        self.referrals[document["id"]] = referral
        self._engagements.setdefault(document["engagementId"], []).append(referral)
        return referral

    def _stamp(self, document: dict[str, Any], ticks: int) -> None:
        self._tags += 1
        document["updatedDateTime"] = iso7(ticks)
        seconds = ticks // TICKS_PER_SECOND
        document["eTag"] = f'"{0x2500EC00 + self._tags:08x}-0000-0000-0000-{seconds:08x}0000"'

    def _write(self, referral: Referral, document: dict[str, Any], via: str) -> None:
        """Stores a changed copy: new version, times of the life cycle, what Microsoft's acceptance brings."""
        old = referral.document
        ticks = self.simulator.clock.ticks()
        document["lastModifiedVia"] = via
        if old["status"] != document["status"]:
            if document["status"] == "Active":
                document["acceptedDateTime"] = iso7(ticks)
                document["expirationDateTime"] = None
                self._accepted_from_microsoft(document)
            elif document["status"] == "Closed":
                document["closedDateTime"] = iso7(ticks)
                if document["substatus"] != "Expired":
                    document["expirationDateTime"] = None
        self._stamp(document, ticks)
        referral.put(document)

    def _accepted_from_microsoft(self, document: dict[str, Any]) -> None:
        inviter = (document.get("inviteContext") or {}).get("invitedBy") or {}
        if document["direction"] == "Incoming" and document["type"] == "Shared" and inviter == presets.MICROSOFT:
            document["trackingInfo"] = self._tracking(document, self.msx_id())

    def msx_id(self) -> str:
        return f"7-{self.simulator.ids.text(10, 'ABCDEFGHJKLMNPQRSTUVWXYZ0123456789')}"

    @staticmethod
    def _tracking(document: dict[str, Any], msx_id: str) -> dict[str, Any]:
        return (document.get("trackingInfo") or presets.blank()["trackingInfo"]) | {"microsoftMsxId": msx_id}

    def _raise_event(self, referral: Referral, action: str) -> None:
        document = referral.document
        name, identifier = f"referral-{action}", document["id"]
        if referral.is_related:
            name = f"related-{name}"
            own = self.ours(document["engagementId"])
            if own is None:
                return
            if self.simulator.settings["related_event_id"] == "own":
                identifier = own.document["id"]
        self.simulator.emit(name, "referral", f"{EVENT_BASE}/{identifier}", {"referral": identifier})

    def _told(self, referral: Referral, action: str, by_api: bool, quiet: bool = False) -> None:
        if not quiet and (not by_api or self.simulator.settings["echo_events"]):
            self._raise_event(referral, action)
        if referral.is_related and action == "updated" and self.simulator.settings["related_moves_own"]:
            own = self.ours(referral.document["engagementId"])
            if own is not None:
                self._write(own, copy.deepcopy(own.document), "Api")
                if not quiet:
                    self._raise_event(own, "updated")

    # Through the API.

    def create(self, body: Any) -> Referral:
        settings = self.simulator.settings
        if not isinstance(body, dict):
            raise Refused("The referral must be an object.")
        to_microsoft = any(
            isinstance(target, dict) and target.get("id") == "msft" for target in body.get("target") or []
        )
        joins = body.get("engagementId") is not None
        strictness = rules.Strictness(
            practice=settings["create_validation"] == "practice",
            refuse_unknown=settings["unknown_members"] == "refuse",
            contact_phone=settings["contact_phone"],
            team_phone=settings["team_phone"],
            invite_needs_help=settings["invite_needs_help"],
        )
        rules.check_create(body, to_microsoft, strictness)
        if joins != to_microsoft:
            raise Refused("target msft and engagementId belong together.")
        if joins:
            return self._invite(body)
        document = self._from_body(body)
        document |= {"status": "Active", "substatus": "Accepted", "direction": "Outgoing"}
        own = self._add(document)
        self._told(own, "created", by_api=True)
        code = (document["inviteContext"] or {}).get("assistanceRequestCode", "Unknown")
        if settings["invite"] == "first-post" and document["type"] == "Shared" and code != "Unknown":
            self._told(self._add(self._microsoft_side(document)), "created", by_api=True)
        return own

    def _from_body(self, body: dict[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in body.items() if name in rules.CREATE_MEMBERS}
        document = merge(presets.blank(), copy.deepcopy(body))
        profile, details, consent = document["customerProfile"], document["details"], document["consent"]
        profile["isMatchingComplete"] = True
        profile["team"] = [rules.contact(each, "customerProfile.team") for each in profile["team"] or []]
        document["team"] = [rules.contact(each, "team") for each in document["team"] or []]
        for name, check in (("dealValue", rules.money), ("closingDateTime", rules.instant)):
            if details[name] is not None:
                details[name] = check(details[name], f"details.{name}")
        solutions = details["requirements"]["solutions"] or []
        details["requirements"]["solutions"] = [rules.solution(each, "solutions") for each in solutions]
        document["target"] = document["target"] or []
        invite = body.get("inviteContext")
        if invite:
            base = presets.invitation(None, "Unknown", presets.ORGANIZATION)
            document["inviteContext"] = base | {name: value for name, value in invite.items() if value is not None}
        elif not consent["consentToShareReferralWithMicrosoftSellers"]:
            document["inviteContext"] = None
        return document

    def _invite(self, body: dict[str, Any]) -> Referral:
        """The second POST: Microsoft's referral in our engagement. Upgrades a deal that was not shared so far."""
        own = self.ours(str(body["engagementId"]).lower())
        if own is None:
            raise Refused("The engagement does not exist.")
        if own.document["status"] != "Active":
            raise Refused("Microsoft can only be invited to an active referral.")
        if body["type"] != "Shared":
            raise Refused("A referral with target msft must be of type Shared.")
        present = any(referral.is_related for referral in self.engagement(own.document["engagementId"]))
        if present and self.simulator.settings["second_invite"] == "409":
            raise Refused("Microsoft has been invited already.", 409, "resourceModified")
        document = self._from_body(body)
        if not document["consent"]["consentToShareReferralWithMicrosoftSellers"]:
            raise Refused("Microsoft can only be invited to a referral that is shared with its sellers.")
        if self.simulator.settings["invite_private"] == "refuse":
            if not own.document["consent"]["consentToShareReferralWithMicrosoftSellers"]:
                raise Refused("Microsoft can only be invited to a referral that it can see.")
        if own.document["type"] != "Shared":
            changed = copy.deepcopy(own.document)
            changed["type"] = "Shared"
            changed["consent"]["consentToShareReferralWithMicrosoftSellers"] = True
            changed["inviteContext"] = copy.deepcopy(document["inviteContext"])
            self._write(own, changed, "Api")
            self._told(own, "updated", by_api=True)
        related = self._add(self._microsoft_side(document | {"engagementId": own.document["engagementId"]}))
        self._told(related, "created", by_api=True)
        return related

    @staticmethod
    def _microsoft_side(source: dict[str, Any]) -> dict[str, Any]:
        """Microsoft's referral, not answered yet, for the deal that `source` describes."""
        document = copy.deepcopy(source) | presets.MICROSOFT
        document |= {name: None for name in ("id", "name", "mpnId", "externalReferenceId", "links")}
        document |= {name: None for name in ("createdDateTime", "acceptedDateTime", "expirationDateTime")}
        document |= {"status": "New", "substatus": "Pending", "direction": "Incoming", "salesStage": None, "team": []}
        document["target"] = [{"type": "BusinessProfileLocation", "id": "msft"}]
        return document

    def patch(self, referral: Referral, body: Any, if_match: str | None) -> None:
        """JSON Patch as the API takes it. Raises Refused."""
        if referral.is_related:
            raise Refused("", 403, "accessDenied")
        if if_match is not None and if_match not in ("*", referral.document["eTag"]):
            code = self.simulator.settings["etag_conflict_code"]
            raise Refused("", 412, code)
        changed = copy.deepcopy(referral.document)
        applied: list[str] = []
        try:
            for op, path, value in rules.operations(body):
                check = rules.allowed(op, path, self.simulator.settings["name_patchable"])
                value = check(value, path) if check else value
                self._check_when(referral.document, path, value, body)
                if path == "/registrations/-":
                    self._register(changed, value)
                else:
                    rules.apply(changed, path, copy.deepcopy(value))
                applied.append(path)
            settings = self.simulator.settings
            declines_only = settings["close_unanswered"] == "declined"
            rules.check_transition(referral.document, changed, declines_only, settings["decline_reason"])
        except Refused:
            half = applied and not self.simulator.settings["patch_atomic"]
            if half and changed["substatus"] in rules.STATUSES[changed["status"]]:
                self._write(referral, changed, "Api")
                self._told(referral, "updated", by_api=True)
            raise
        self._write(referral, changed, "Api")
        self._told(referral, "updated", by_api=True)

    def _check_when(self, old: dict[str, Any], path: str, value: Any, body: list[dict[str, Any]]) -> None:
        """What may change in which state (life cycle of the deal)."""
        settings = self.simulator.settings
        registers = path.startswith("/registrations/")
        if registers and (old["status"], old["substatus"]) != ("Closed", "Won"):
            raise Refused("Only a won referral can be registered.")
        if old["status"] == "Closed" and not registers:
            raise Refused("Closed referrals cannot be changed.", message="Status transition is not allowed.")
        accepts = any(op.get("path") == "/status" and op.get("value") == "Active" for op in body)
        if old["status"] == "New" and not accepts and path not in rules.LIFE_CYCLE_PATHS:
            mode = settings["new_editable"]
            if mode == "none" or (mode == "external-reference" and path != "/externalReferenceId"):
                raise Refused(f"{path} cannot be changed before the referral is accepted.")
        if path.startswith("/consent/") and old["consent"][path.split("/")[2]] and not value:
            raise Refused("Sharing with Microsoft sellers cannot be taken back.")
        if path.startswith("/customerProfile/team") and settings["contacts_after_share"] == "refuse":
            asked = (old["inviteContext"] or {}).get("assistanceRequestCode", "Unknown") != "Unknown"
            if asked or any(each.is_related for each in self.engagement(old["engagementId"])):
                raise Refused(f"{path} cannot be changed once help was asked for.")

    def _register(self, document: dict[str, Any], value: dict[str, Any]) -> None:
        moment = iso7(self.simulator.clock.ticks())
        contents = {name: copy.deepcopy(each) for name, each in value.items() if name != "type"}
        names = {each["id"]: each.get("name") for each in document["details"]["requirements"]["solutions"]}
        for each in contents["solutionDetails"]:
            each.setdefault("name", names.get(each["id"]))
        history = dict.fromkeys(
            (
                "reviewPendingDateTime",
                "actionRequiredDateTime",
                "passedDateTime",
                "failedDateTime",
                "approvedDateTime",
            )
        )
        document["registrations"] = [
            *(document["registrations"] or []),
            {
                "id": self.simulator.ids.uuid(),
                "registrationDateTime": moment,
                "status": "ReviewPending",
                "statusReason": None,
                **contents,
                "statusHistory": history | {"reviewPendingDateTime": moment},
            },
        ]
        document["registrationStatus"] = "ReviewPending"

    # Through the admin routes: Microsoft, other sellers and people in the portal.

    def make(self, body: dict[str, Any]) -> Referral:
        """A referral of a `kind`, overridden by the other members; a shared one of ours comes with Microsoft's."""
        body = dict(body)
        kind = body.pop("kind", "microsoft-cosell")
        options = body.pop("_sim", {})
        if kind not in presets.KINDS:
            raise AdminError(f"kind must be one of {list(presets.KINDS)}")
        self._check_admin(body, options)
        document = _with_exact_value(merge(presets.preset(kind, self._made), body))
        self._made += 1
        for name in ("id", "engagementId"):
            if document[name] is not None and not rules.GUID.fullmatch(str(document[name])):
                raise AdminError(f"{name} must be a GUID in lower case")
        if document["id"] in self.referrals:
            raise AdminError("there is a referral with this id", 409)
        referral = self._add(document)
        referral.visible = options.get("visible", "visible")
        quiet = options.get("events") is False
        self._told(referral, "created", by_api=False, quiet=quiet)
        if kind == "partner-cosell" and options.get("related", True):
            self._told(self._add(self._microsoft_side(referral.document)), "created", by_api=False, quiet=quiet)
        return referral

    def _check_admin(self, body: dict[str, Any], options: Any) -> None:
        unknown = set(body) - set(presets.blank()) - {"customerMarketplaceIntent"}
        if unknown:
            raise AdminError(f"a referral has no member {sorted(unknown)[0]!r}")
        if not isinstance(options, dict) or set(options) - {"events", "visible", "related"}:
            raise AdminError("_sim takes events (bool), visible and, on creation, related (bool)")
        if options.get("visible", "visible") not in ("visible", "403", "404"):
            raise AdminError("_sim.visible must be visible, 403 or 404")

    def known(self, identifier: str) -> Referral:
        found = self.referrals.get(identifier.lower())
        if found is None:
            raise AdminError("no such referral", 404)
        return found

    def edit(self, referral: Referral, body: dict[str, Any]) -> None:
        """A person's edit in the portal; lists are replaced, null is stored as null, no rule is enforced."""
        body = dict(body)
        options = body.pop("_sim", {})
        self._check_admin(body, options)
        referral.visible = options.get("visible", referral.visible)
        if not body:
            return
        self._write(referral, _with_exact_value(merge(copy.deepcopy(referral.document), body)), "Ui")
        self._told(referral, "updated", by_api=False, quiet=options.get("events") is False)

    def microsoft(self, referral: Referral, body: dict[str, Any]) -> Referral:
        """Microsoft answers the invitation of a deal (given by our referral or by theirs)."""
        outcomes = {
            "accept": ("Active", "Accepted"),
            "decline": ("Closed", "Declined"),
            "expire": ("Closed", "Expired"),
        }
        if body.get("answer") not in outcomes or set(body) - {"answer", "reason", "msxId"}:
            raise AdminError("body is {answer: accept|decline|expire, reason, msxId}")
        parties = self.engagement(referral.document["engagementId"])
        waiting = [each for each in parties if each.is_related and each.document["status"] == "New"]
        if not waiting:
            raise AdminError("no invitation of Microsoft is waiting in this engagement", 409)
        related = referral if referral in waiting else waiting[0]
        changed = copy.deepcopy(related.document)
        changed["status"], changed["substatus"] = outcomes[body["answer"]]
        changed["statusReason"] = body.get("reason")
        own = self.ours(changed["engagementId"])
        where = self.simulator.settings["msx_id_on"]
        msx_id = body.get("msxId") or self.msx_id()
        if body["answer"] == "accept":
            changed["team"] = [copy.deepcopy(presets.MICROSOFT_SELLER)]
            if where in ("related", "both"):
                changed["trackingInfo"] = self._tracking(changed, msx_id)
        self._write(related, changed, "Msx")
        self._told(related, "updated", by_api=False)
        if body["answer"] == "accept" and own is not None and where in ("own", "both"):
            document = copy.deepcopy(own.document)
            document["trackingInfo"] = self._tracking(document, msx_id)
            self._write(own, document, "Msx")
            self._told(own, "updated", by_api=False)
        return related

    def expire(self, referral: Referral) -> None:
        """Nobody answered in time: Closed/Expired, and the customer's contacts are hidden."""
        if referral.document["status"] != "New":
            raise AdminError("only a referral that is New can expire", 409)
        changed = copy.deepcopy(referral.document)
        changed |= {"status": "Closed", "substatus": "Expired"}
        if not referral.is_related:
            changed["customerProfile"]["team"] = None
        self._write(referral, changed, "Api")
        self._told(referral, "updated", by_api=False)
