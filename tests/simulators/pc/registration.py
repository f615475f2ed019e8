"""Webhook registration API: `/webhooks/v1/registration`, errors in the shape of api.partnercenter.microsoft.com."""

from __future__ import annotations

import collections
import http
import math
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

from aiohttp import web

from chassis import Delivery, Setting, answer, iso7, parse_json
from pc.tokens import REGISTRATION_AUDIENCE

if TYPE_CHECKING:
    from partner_center import PartnerCenter

BASE = "/webhooks/v1/registration"
RESOURCE_BASE = "http://api.partnercenter.microsoft.com" + BASE
EVENTS = [
    "azure-fraud-event-detected",
    "invoice-ready",
    "referral-created",
    "referral-updated",
    "related-referral-created",
    "related-referral-updated",
    "subscription-updated",
    "test-created",
    "usagerecords-thresholdExceeded",
]

REGISTRATION_SETTINGS: dict[str, Setting] = {
    "registration_absent": Setting("404", "answer to GET when there is none: 404 or an empty 200", ("404", "empty")),
    "registration_post_existing": Setting("409", "POST when there is one already", ("409", "replace")),
    "registration_put_absent": Setting("404", "PUT when there is none", ("404", "create")),
    "registration_get_shows_flag": Setting(False, "GET returns SignatureTokenToMsSignatureHeader"),
    "validation_limit": Setting(2, "validation events per window"),
    "validation_window_s": Setting(60.0, "length of that window"),
}


def error(status: int, description: str, code: str | None = None) -> web.Response:
    body = {"code": code or str(status), "description": description, "data": [], "source": "PartnerCenterSimulator"}
    return answer(body, status)


def status_name(status: int) -> str:
    """`InternalServerError`: the name by which .NET calls a status."""
    try:
        return http.HTTPStatus(status).phrase.title().replace(" ", "").replace("Ok", "OK")
    except ValueError:
        return str(status)


class Registration:
    """The tenant's one registration and its validation events."""

    def __init__(self, simulator: PartnerCenter) -> None:
        self.simulator = simulator
        self.partner_id = ""
        self.current: dict[str, Any] | None = None
        self.subscriber_id = ""
        self.validations: dict[str, dict[str, Any]] = {}
        self.starts: collections.deque[float] = collections.deque()
        self.reset()

    def reset(self) -> None:
        self.partner_id = self.simulator.ids.uuid()
        self.current = None
        self.validations.clear()
        self.starts.clear()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for method, path, handler in (
            ("GET", BASE, self._get),
            ("POST", BASE, self._post),
            ("PUT", BASE, self._put),
            ("GET", BASE + "/events", self._events),
            ("POST", BASE + "/validationEvents", self._validate),
            ("GET", BASE + "/validationEvents/{correlation}", self._validation),
        ):
            router.add_route(method, path, self._guarded(handler))

    def _guarded(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            token = self.simulator.tokens.bearer(request, REGISTRATION_AUDIENCE)
            if token is None:
                return error(401, "Access denied", "400")
            if self.simulator.tokens.lacks_mfa(token):
                return error(401, "The request did not carry an MFA claim.", "900421")
            response = await handler(request)
            if request.headers.get("ValidateMfa", "").lower() == "true":
                response.headers["isMfaCompliant"] = "true" if token.mfa or token.app_only else "false"
            return response

        return guarded

    def wants(self, event: str) -> bool:
        return self.current is not None and event in self.current["WebhookEvents"]

    def problem(self, body: Any) -> str | None:
        """Why this is no registration."""
        if not isinstance(body, dict):
            return "The registration must be an object."
        url = body.get("WebhookUrl")
        parts = urllib.parse.urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
            return "WebhookUrl must be an absolute URL."
        events = body.get("WebhookEvents")
        if not isinstance(events, list) or not events or not all(event in EVENTS for event in events):
            return "WebhookEvents must be a list of supported event names."
        if len(set(events)) != len(events):
            return "WebhookEvents names an event twice."
        if not isinstance(body.get("SignatureTokenToMsSignatureHeader", False), bool):
            return "SignatureTokenToMsSignatureHeader must be a boolean."
        return None

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.current is None:
            self.subscriber_id = self.simulator.ids.uuid()
        self.current = {
            "WebhookUrl": body["WebhookUrl"],
            "WebhookEvents": list(body["WebhookEvents"]),
            "SignatureTokenToMsSignatureHeader": body.get("SignatureTokenToMsSignatureHeader", False),
        }
        return {"SubscriberId": self.subscriber_id, **self.shown(False)}

    def shown(self, flag: bool) -> dict[str, Any]:
        assert self.current is not None
        return {
            name: value for name, value in self.current.items() if flag or name != "SignatureTokenToMsSignatureHeader"
        }

    async def _body(self, request: web.Request) -> dict[str, Any] | web.Response:
        if request.content_type != "application/json":
            return error(415, "The content type must be application/json.")
        try:
            body = parse_json(await request.read())
        except ValueError:
            return error(400, "The request body is not valid JSON.")
        problem = self.problem(body)
        return error(400, problem) if problem else body

    async def _events(self, request: web.Request) -> web.Response:
        return answer(EVENTS)

    async def _get(self, request: web.Request) -> web.Response:
        if self.current is None:
            if self.simulator.settings["registration_absent"] == "empty":
                return web.Response(status=200)
            return error(404, "No registration found for the tenant.")
        return answer(self.shown(self.simulator.settings["registration_get_shows_flag"]))

    async def _post(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        if self.current is not None and self.simulator.settings["registration_post_existing"] == "409":
            return error(409, "The tenant has a registration already.")
        return answer(self.store(body))

    async def _put(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        if self.current is None and self.simulator.settings["registration_put_absent"] == "404":
            return error(404, "No registration found for the tenant.")
        return answer(self.store(body))

    async def _validate(self, request: web.Request) -> web.Response:
        settings = self.simulator.settings
        now = time.monotonic()
        window = settings["validation_window_s"]
        while self.starts and self.starts[0] <= now - window:
            self.starts.popleft()
        if len(self.starts) >= settings["validation_limit"]:
            wait = max(1, math.ceil(self.starts[0] + window - now))
            message = f"Rate limit is exceeded. Try again in {wait} seconds."
            return answer({"statusCode": 429, "message": message}, 429, {"Retry-After": str(wait)})
        if not self.wants("test-created"):
            return error(400, "The tenant is not registered for test-created.")
        assert self.current is not None
        self.starts.append(now)
        correlation = self.simulator.ids.uuid()
        self.validations[correlation] = {
            "correlationId": correlation,
            "partnerId": self.partner_id,
            "status": "inProgress",
            "callbackUrl": self.current["WebhookUrl"],
            "results": [],
        }
        uri = f"{RESOURCE_BASE}/validationEvents/{correlation}"
        self.simulator.emit("test-created", "test", uri, {"correlation": correlation})
        return answer({"correlationId": correlation})

    async def _validation(self, request: web.Request) -> web.Response:
        found = self.validations.get(request.match_info["correlation"])
        return answer(found) if found else error(404, "The validation event was not found.")

    def attempted(self, delivery: Delivery, attempt: dict[str, Any]) -> None:
        found = self.validations.get(delivery.context.get("correlation", ""))
        if found is None:
            return
        answered = attempt["error"] is None
        failed = answered and not 200 <= attempt["status"] < 300
        found["results"].append(
            {
                "responseCode": status_name(attempt["status"]) if answered else "",
                "responseMessage": attempt["response"] if failed else attempt["error"] or "",
                "systemError": not answered,
                "dateTimeUtc": iso7(self.simulator.clock.ticks(), ""),
            }
        )

    def finished(self, delivery: Delivery) -> None:
        found = self.validations.get(delivery.context.get("correlation", ""))
        if found is not None:
            found["status"] = "completed"
