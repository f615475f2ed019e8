#!/usr/bin/python3
"""A Dynamics 365 organisation in one process: token endpoint, Dataverse Web API v9.2, webhooks, and admin routes.

Model and rules live in the package `dataverse`; this file puts them on the wire.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

import json_text
from chassis import AdminError, Delivery, DeliveryWorker, Simulator, admin_body, main
from dataverse import batch, webhooks
from dataverse.deals import Deals
from dataverse.entra import Application, TokenRefused, TokenService
from dataverse.errors import ServiceError
from dataverse.events import Event
from dataverse.exchange import JSON_TYPE, Answer, Exchange
from dataverse.organization import APPLICATION_USER_ID, ORGANIZATION_ID, SELLER_ID, Organization
from dataverse.resource_path import API_ROOT
from dataverse.schema import ENTITY_SETS
from dataverse.seller import Seller
from dataverse.service_protection import ServiceProtection
from dataverse.settings import SETTINGS
from dataverse.web_api import WebApi, error_answer

JSON = "application/json; charset=utf-8"


# Bodies of statuses that come from a fault on demand or an unknown route.
_UNEXPECTED = ("0x80040216", "An unexpected error occurred.")
_ERRORS = {
    403: ("0x80040220", f"Principal user (Id={APPLICATION_USER_ID}) is missing prvWriteOpportunity privilege"),
    404: ("", "No resource was found that matches the request URI."),
    412: ("0x80060882", "The version of the existing record doesn't match the RowVersion property provided."),
    429: ("0x80072322", "Number of requests exceeded the limit of 6000 over time window of 300 seconds."),
    503: ("0x80044151", "A time-out occurred in the database."),
}


class WebhookWorker(DeliveryWorker):
    """Deliveries by Dataverse's rules: 502, 503 and 504 are tried once more, nothing else is."""

    def retries(self, delivery: Delivery, status: int | None) -> bool:
        return status in webhooks.REPEATED_STATUSES


class Dynamics365(Simulator):
    """A sandbox of Dynamics 365 Sales on the Dataverse Web API v9.2."""

    title = "Dynamics 365"
    setting_definitions = SETTINGS
    secret_fields = ("access_token", "client_secret", "client_assertion", "authvalue")

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        application = Application(options.tenant, options.client_id, options.client_secret)
        self.tokens = TokenService(application, self.settings, self.ids.uuid)
        self.protection = ServiceProtection(self.settings)
        self.organization = Organization(self.settings, self.ids, options.client_id, options.organization_host)
        self.organization.listener = self._tell_steps
        self.api = WebApi(self.organization)
        self.seller = Seller(self.organization)
        self.deals = Deals(self.organization)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tenant", default="9b1f7c52-3d0e-4a86-8c57-e2d4f60a1b39", help="directory (tenant) id")
        parser.add_argument("--client-id", default="e0c6a1d4-5b27-4f93-9a18-7d3c2f80b645", help="application id")
        parser.add_argument("--client-secret", default="sandbox-secret", help="secret of the application")
        parser.add_argument(
            "--organization-host",
            default="nordlicht.crm4.dynamics.com",
            help="name of the organisation in webhooks; https://NAME/.default is a valid scope, as is the own address",
        )

    def make_deliveries(self) -> DeliveryWorker:
        return WebhookWorker(self)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_route("*", "/{tenant}/oauth2/v2.0/token", self._token)
        router.add_route("*", API_ROOT + "{rest:.*}", self._web_api)
        router.add_get("/_sim/rows/{set}", self._rows)
        router.add_post("/_sim/rows/{set}", self._row_create)
        router.add_get("/_sim/rows/{set}/{key}", self._row)
        router.add_patch("/_sim/rows/{set}/{key}", self._row_update)
        router.add_delete("/_sim/rows/{set}/{key}", self._row_delete)
        router.add_post("/_sim/rows/opportunities/{key}/close", self._close)
        router.add_post("/_sim/rows/opportunities/{key}/reopen", self._reopen)
        router.add_post("/_sim/opportunities", self._deal_create)
        router.add_get("/_sim/opportunities/{key}", self._deal)
        router.add_patch("/_sim/opportunities/{key}", self._deal_update)
        router.add_post("/_sim/webhooks", self._webhook_create)
        router.add_post("/_sim/delta-links/expire", self._deltas_expire)
        router.add_post("/_sim/tokens/revoke", self._tokens_revoke)

    def reset_state(self) -> None:
        self.organization.reset()
        self.protection.reset()
        self.tokens.revoke_all()

    def state(self) -> dict[str, Any]:
        """Users, the last version given, and all rows by entity set as an answer of the Web API shows them."""
        rows = {name: json_text.plain(self.seller.list(name)["value"]) for name in ENTITY_SETS}
        return {
            "organizationId": ORGANIZATION_ID,
            "applicationUserId": APPLICATION_USER_ID,
            "sellerId": SELLER_ID,
            "version": self.organization.store.version,
            "rows": rows,
        }

    def error_response(self, request: web.Request, status: int) -> web.Response:
        if request.path.endswith("/token"):
            refused = TokenRefused(status, "temporarily_unavailable", 90033, "A transient error has occurred.")
            body = self.tokens.refusal(refused)
        elif status == 401:
            return self._unauthorized()
        else:
            code, message = _ERRORS.get(status, _UNEXPECTED)
            body = {"error": {"code": code, "message": message}}
        return web.Response(body=json_text.dumps(body).encode(), status=status, headers={"Content-Type": JSON_TYPE})

    def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith(API_ROOT):
            identifier = self.ids.uuid()
            response.headers["OData-Version"] = "4.0"
            response.headers["REQ_ID"] = identifier
            response.headers["x-ms-service-request-id"] = identifier

    # Tokens

    async def _token(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"})
        root = f"{request.scheme}://{request.host}"
        resources = (f"https://{self.options.organization_host}", root)
        try:
            if request.content_type != "application/x-www-form-urlencoded":
                raise TokenRefused(400, "invalid_request", 900144, "The request body must be form data.")
            text = (await request.read()).decode("utf-8", "replace")
            form = dict(parse_qsl(text, keep_blank_values=True))
            body, status = self.tokens.issue(request.match_info["tenant"], form, resources), 200
        except TokenRefused as refused:
            body, status = self.tokens.refusal(refused), refused.status
        headers = {"Content-Type": JSON, "Cache-Control": "no-store, no-cache"}
        return web.Response(body=json_text.dumps(body).encode(), status=status, headers=headers)

    # Web API

    async def _web_api(self, request: web.Request) -> web.Response:
        exchange = await self._exchange(request)
        if not self.tokens.accepts(request.headers.get("Authorization")):
            return self._unauthorized()
        if not self.settings["application_user_exists"]:
            refusal = ServiceError(403, "0x80072560", "The user is not a member of the organization.")
            return to_response(error_answer(refusal, exchange))
        try:
            self.protection.enter(time.monotonic())
        except ServiceError as refusal:
            return to_response(error_answer(refusal, exchange))
        started = time.monotonic()
        simulated = 0.0
        try:
            window = self.settings["upsert_race_window_ms"]
            if window and self.api.missing_upsert_key(exchange):
                exchange.key_seen_missing = True
                await asyncio.sleep(window / 1000)
            answer, requests = self._answer(exchange)
            simulated = requests * self.settings["request_duration_ms"] / 1000
            await asyncio.sleep(simulated)
        finally:
            self.protection.leave(time.monotonic(), (time.monotonic() - started) * 1000)
        response = to_response(answer)
        response.headers.update(self.protection.headers())
        return response

    def _answer(self, exchange: Exchange) -> tuple[Answer, int]:
        if exchange.path.strip("/") == "$batch":
            return batch.perform(self.api, exchange, self.ids.uuid)
        return self.api.handle(exchange), 1

    async def _exchange(self, request: web.Request) -> Exchange:
        path, _, query = request.raw_path.partition("?")
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            name = name.lower()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        return Exchange(
            method=request.method,
            path=path[len(API_ROOT) :],
            query=query,
            headers=headers,
            body=await request.read(),
            base_url=f"{request.scheme}://{request.host}",
            caller=self.organization.seller(),
        )

    def _unauthorized(self) -> web.Response:
        challenge = (
            f"Bearer authorization_uri=https://login.microsoftonline.com/{self.options.tenant}/oauth2/authorize, "
            f"resource_id=https://{self.options.organization_host}/"
        )
        body = b""
        if self.settings["unauthorized_body"] == "json":
            error = {"error": {"code": "0x8005F101", "message": "The access token is not valid or has expired."}}
            body = json_text.dumps(error).encode()
        return web.Response(body=body, status=401, headers={"WWW-Authenticate": challenge, "Content-Type": JSON})

    def _tell_steps(self, event: Event) -> None:
        for call in webhooks.calls_for(self.organization, event):
            name = f"{event.message} {event.table.logical_name}"
            context = {"step": call.step_id, "row": event.row_id, "headers": call.headers}
            self.deliveries.send(name, call.url, call.body, call.headers, context)

    # Admin

    async def _rows(self, request: web.Request) -> web.Response:
        return admin_answer(lambda: self.seller.list(request.match_info["set"]))

    async def _row(self, request: web.Request) -> web.Response:
        return admin_answer(lambda: self.seller.get(request.match_info["set"], request.match_info["key"]))

    async def _row_create(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        entity_set, base_url = request.match_info["set"], self._base_url(request)
        return admin_answer(lambda: self.seller.create(entity_set, body, base_url), 201)

    async def _row_update(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        entity_set, key = request.match_info["set"], request.match_info["key"]
        return admin_answer(lambda: self.seller.update(entity_set, key, body, self._base_url(request)))

    async def _row_delete(self, request: web.Request) -> web.Response:
        return admin_answer(lambda: self.seller.delete(request.match_info["set"], request.match_info["key"]))

    async def _close(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        return admin_answer(lambda: self.seller.close(request.match_info["key"], body, self._base_url(request)))

    async def _reopen(self, request: web.Request) -> web.Response:
        return admin_answer(lambda: self.seller.reopen(request.match_info["key"]))

    async def _deal_create(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        return admin_answer(lambda: self.deals.make(body, self._base_url(request)), 201)

    async def _deal(self, request: web.Request) -> web.Response:
        return admin_answer(lambda: self.deals.show(request.match_info["key"]))

    async def _deal_update(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        return admin_answer(lambda: self.deals.edit(request.match_info["key"], body, self._base_url(request)))

    async def _deltas_expire(self, request: web.Request) -> web.Response:
        return admin_answer(self.organization.expire_deltas)

    async def _webhook_create(self, request: web.Request) -> web.Response:
        body = await admin_body(request)
        return admin_answer(lambda: self.seller.register(body), 201)

    async def _tokens_revoke(self, request: web.Request) -> web.Response:
        self.tokens.revoke_all()
        return admin_answer(lambda: {"ok": True})

    @staticmethod
    def _base_url(request: web.Request) -> str:
        return f"{request.scheme}://{request.host}"

    @staticmethod
    async def _body(request: web.Request) -> dict[str, Any]:
        """As admin_body, but with fractions kept as decimals."""
        try:
            value = json_text.loads(await request.read() or b"{}")
        except ValueError:
            raise AdminError("body is not JSON") from None
        if not isinstance(value, dict):
            raise AdminError("body must be a JSON object")
        return value


def to_response(answer: Answer) -> web.Response:
    return web.Response(body=answer.body or None, status=answer.status, headers=answer.headers)


def admin_answer(action: Any, status: int = 200) -> web.Response:
    """The result of an edit; a refusal of the organisation comes back as the Web API would tell it."""
    try:
        value = action()
    except ServiceError as refusal:
        value, status = refusal.body(), refusal.status
    body = json_text.dumps({"ok": True} if value is None else value).encode()
    return web.Response(body=body, status=status, headers={"Content-Type": JSON})


if __name__ == "__main__":
    main(Dynamics365)
