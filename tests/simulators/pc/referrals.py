"""Referrals API: `/v1.0/engagements/referrals`, errors in the shape of api.partner.microsoft.com."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from chassis import Setting, answer, dump, parse_json
from pc import presets, rules
from pc.query import Filter, QueryError, ordering, selection
from pc.rules import Refused
from pc.tokens import REFERRALS_AUDIENCE, REGISTRATION_AUDIENCE

if TYPE_CHECKING:
    from partner_center import PartnerCenter

BASE = "/v1.0/engagements/referrals"
SHORT = "/v1.0/referrals"  # the path that nextLink shows
LIST_CONTEXT = "http://api.partner.microsoft.com/v1.0/$metadata#Referrals"
ENTITY_CONTEXT = "https://api.partner.microsoft.com/v1.0/$metadata#Referrals/$entity"
NEXT_LINK = "http://api.partner.microsoft.com/v1.0/referrals?$skiptoken="

MESSAGES = {
    "invalidRequest": "The request is malformed or incorrect.",
    "unauthenticated": "The caller is not authenticated.",
    "unAuthorized": "Caller is not authorized to access the resource.",
    "accessDenied": "The caller does not have permission to perform the action.",
    "itemNotFound": "The resource could not be found.",
    "preconditionFailed": "The If-Match value does not match the current state.",
    "resourceModified": "The resource has changed since it was last read.",
    "serviceNotAvailable": "The service is not available. Try again later.",
    "generalException": "An error occurred.",
}
CODES = {
    401: "unauthenticated",
    403: "accessDenied",
    404: "itemNotFound",
    409: "resourceModified",
    410: "itemNotFound",
    412: "preconditionFailed",
    423: "resourceModified",
    503: "serviceNotAvailable",
}
INVALID = (400, 405, 406, 411, 413, 415, 416, 422, 501)

REFERRAL_SETTINGS: dict[str, Setting] = {
    "page_size": Setting(100, "referrals per page"),
    "skiptoken_on": Setting("both", "path that takes $skiptoken", ("both", "engagements", "short")),
    "list_options": Setting("documented", "swagger: $top, $skip, $count are taken too", ("documented", "swagger")),
    "filter_updated": Setting(False, "$filter takes updatedDateTime with gt and ge"),
    "filter_external_reference": Setting(False, "$filter takes externalReferenceId"),
    "filter_guid_quoting": Setting("both", "form of engagementId in $filter", ("both", "quoted", "unquoted")),
    "error_target": Setting("referral", "target that an error about one member names", ("referral", "member")),
    "create_status": Setting(201, "answer to a POST", (200, 201)),
    "etag_header": Setting(False, "answers carry the eTag as header, too"),
    "client_request_id_required": Setting(True, "requests without a GUID as client-request-id are refused"),
    "content_type_on_get": Setting(False, "a GET needs Content-Type: application/json"),
    "app_only": Setting("403", "answer to an app-only token", ("403", "401")),
    "user_role": Setting("admin", "none: the user may do nothing", ("admin", "none")),
    "throttle_rps": Setting(0, "requests per second until 429; 0: no limit"),
    "throttle_concurrency": Setting(0, "requests under way until 429; 0: no limit"),
    "retry_after_s": Setting(1, "Retry-After of a 429"),
    "latency_ms": Setting(0, "time an answer of the Referrals API takes"),
}


def error(
    status: int,
    code: str | None = None,
    message: str | None = None,
    inner: str = "",
    inner_code: str = "validationFailed",
    target: str = "referral",
) -> web.Response:
    code = code or CODES.get(status) or ("invalidRequest" if status in INVALID else "generalException")
    message = message or ("Too many requests." if status == 429 else MESSAGES[code])
    body: dict[str, Any] = {"code": code, "message": message, "target": target}
    if inner:
        body["innerError"] = {"code": inner_code, "message": inner}
    return answer({"error": body}, status)


class Throttle:
    """Fixed windows of one second and a count of requests under way."""

    def __init__(self) -> None:
        self.running = 0
        self._window = 0
        self._count = 0

    def refuses(self, per_second: int, at_once: int) -> bool:
        window = math.floor(time.monotonic())
        if window != self._window:
            self._window, self._count = window, 0
        self._count += 1
        return bool((per_second and self._count > per_second) or (at_once and self.running > at_once))


class ReferralsApi:
    """HTTP side of the store."""

    def __init__(self, simulator: PartnerCenter) -> None:
        self.simulator = simulator
        self.throttle = Throttle()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for method, path, handler in (
            ("GET", BASE, self._list),
            ("GET", SHORT, self._list),
            ("POST", BASE, self._create),
            ("GET", BASE + "/{id}", self._get),
            ("PATCH", BASE + "/{id}", self._patch),
        ):
            router.add_route(method, path, self._guarded(handler))

    def _guarded(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            settings = self.simulator.settings
            self.throttle.running += 1
            try:
                if self.throttle.refuses(settings["throttle_rps"], settings["throttle_concurrency"]):
                    response = error(429)
                    response.headers["Retry-After"] = str(settings["retry_after_s"])
                    return response
                if settings["latency_ms"]:
                    await asyncio.sleep(settings["latency_ms"] / 1000)
                refusal = self._refusal(request)
                return refusal if refusal is not None else await handler(request)
            except Refused as refused:
                named = refused.member if settings["error_target"] == "member" else None
                return error(refused.status, refused.code, refused.message, refused.inner, target=named or "referral")
            except QueryError as problem:
                return error(400, inner=str(problem))
            finally:
                self.throttle.running -= 1

        return guarded

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Authentication, authorisation and headers, in this order."""
        settings, tokens = self.simulator.settings, self.simulator.tokens
        token = tokens.bearer(request, REFERRALS_AUDIENCE)
        if token is None:
            other = tokens.bearer(request, REGISTRATION_AUDIENCE) is not None
            return error(401, inner="The token was issued for another audience." if other else "")
        if token.app_only:
            if settings["app_only"] == "401":
                return error(401, "unAuthorized", inner="Unauthorized referral access")
            return error(403)
        if tokens.lacks_mfa(token):
            return error(401, inner="The request did not carry an MFA claim.", inner_code="900421")
        if settings["user_role"] == "none":
            return error(403)
        given = request.headers.get("client-request-id", "")
        if settings["client_request_id_required"] and not rules.GUID.fullmatch(given.lower()):
            return error(400, inner="client-request-id must be a GUID.")
        if request.method != "GET" or settings["content_type_on_get"]:
            if request.content_type != "application/json":
                return error(415, inner="Content-Type must be application/json.")
        return None

    @staticmethod
    async def _json(request: web.Request) -> Any:
        try:
            return parse_json(await request.read(), exact=True)
        except ValueError:
            raise Refused("The request body is not valid JSON.") from None

    def _entity(self, document: dict[str, Any], status: int = 200) -> web.Response:
        headers = {"ETag": document["eTag"]} if self.simulator.settings["etag_header"] else None
        return answer({"@odata.context": ENTITY_CONTEXT, **document}, status, headers)

    async def _get(self, request: web.Request) -> web.Response:
        if request.query:
            raise Refused("A referral is read without query options.")
        return self._entity(self.simulator.store.get(request.match_info["id"]).document)

    async def _create(self, request: web.Request) -> web.Response:
        referral = self.simulator.store.create(await self._json(request))
        return self._entity(referral.document, self.simulator.settings["create_status"])

    async def _patch(self, request: web.Request) -> web.Response:
        referral = self.simulator.store.get(request.match_info["id"])
        if_match = request.headers.get("If-Match")
        if if_match is not None and if_match != "*" and not (if_match[:1] == if_match[-1:] == '"' and if_match[1:]):
            raise Refused("If-Match must be an ETag in double quotes.")
        self.simulator.store.patch(referral, await self._json(request), if_match)
        if "return=representation" in request.headers.get("Prefer", "").replace(" ", "").split(","):
            return self._entity(referral.document)
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        settings = self.simulator.settings
        options = dict(request.query)
        if len(options) != len(request.query):
            raise Refused("A query option is given twice.")
        short = request.path == SHORT
        if short and "$skiptoken" not in options:
            raise Refused("", 404, "itemNotFound")
        start, first = 0, True
        if "$skiptoken" in options:
            if settings["skiptoken_on"] == ("engagements" if short else "short"):
                raise Refused("", 404, "itemNotFound")
            start, options = self._from_token(options["$skiptoken"])
            first = False
        documents = self._select(options)
        total = len(documents)
        size = settings["page_size"]
        if settings["list_options"] == "swagger" and first:
            start = self._number(options, "$skip", 0)
            size = min(size, self._number(options, "$top", size))
        page = documents[start : start + size]
        body: dict[str, Any] = {"@odata.context": LIST_CONTEXT}
        if first:
            body["@odata.count"] = total
        if "$select" in options:
            names = selection(options["$select"], set(presets.blank()))
            page = [{name: document[name] for name in names} for document in page]
        body["value"] = page
        if start + size < total and "$top" not in options:
            body["@odata.nextLink"] = NEXT_LINK + self._to_token(start + size, options)
        return answer(body)

    def _select(self, options: dict[str, str]) -> list[dict[str, Any]]:
        settings = self.simulator.settings
        known = {"$filter", "$orderby", "$select"}
        if settings["list_options"] == "swagger":
            known |= {"$top", "$skip", "$count"}
        unknown = set(options) - known
        if unknown:
            raise QueryError(f"query option {sorted(unknown)[0]!r} is not supported")
        if "$select" in options:
            selection(options["$select"], set(presets.blank()))
        condition = None
        if "$filter" in options:
            condition = Filter(
                options["$filter"],
                settings["filter_guid_quoting"],
                settings["filter_external_reference"],
                settings["filter_updated"],
            )
        documents = self.simulator.store.listed(condition is not None and "engagementId" in condition.fields)
        if condition is not None:
            documents = [document for document in documents if condition.test(document)]
        if "$orderby" in options:
            field, descending = ordering(options["$orderby"])
            documents = sorted(documents, key=lambda document: document[field], reverse=descending)
        return documents

    @staticmethod
    def _number(options: dict[str, str], name: str, default: int) -> int:
        value = options.get(name, str(default))
        if not value.isdigit():
            raise QueryError(f"{name} must be a whole number")
        return int(value)

    @staticmethod
    def _to_token(position: int, options: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(dump([position, options]).encode()).rstrip(b"=").decode()

    @staticmethod
    def _from_token(text: str) -> tuple[int, dict[str, str]]:
        try:
            position, options = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, TypeError):
            raise QueryError("$skiptoken is not valid") from None
        if type(position) is not int or not isinstance(options, dict):
            raise QueryError("$skiptoken is not valid")
        return position, options
