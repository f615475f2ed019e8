"""Simulator of Microsoft Partner Center, as a partner's integration meets it.

One port serves the token endpoint (`/{tenant}/oauth2/token`), the webhook registration API
(`/webhooks/v1/registration`), the Referrals API (`/v1.0/engagements/referrals`) and the certificate of the signed
webhook deliveries (`/cert/`). Where the documents leave a behaviour open, it is a setting.
"""

from __future__ import annotations

import argparse
from typing import Any

from aiohttp import web

from chassis import AdminError, Delivery, DeliveryWorker, Setting, Simulator, admin_body, answer, dump, iso7, main
from pc import referrals, registration
from pc.referrals import REFERRAL_SETTINGS, ReferralsApi
from pc.registration import REGISTRATION_SETTINGS, Registration
from pc.signing import Signer
from pc.store import STORE_SETTINGS, Store
from pc.tokens import TOKEN_SETTINGS, Tokens

EVENT_SETTINGS: dict[str, Setting] = {
    "event_delay_ms": Setting(0, "time between a change and the first attempt to deliver its event"),
    "cert_format": Setting("der", "form of the certificate behind its URL", ("der", "pem")),
    "cert_chain": Setting(False, "the PEM form holds the issuer as well"),
    "signature_algorithm": Setting(
        "rsa-sha256", "algorithm of signatures", ("rsa-sha256", "rsa-sha384", "rsa-sha512", "rsa-sha1")
    ),
    "gzip": Setting(False, "JSON answers are compressed where the client offers it"),
}


class SignedDeliveries(DeliveryWorker):
    """Webhook deliveries with Partner Center's signature; every attempt is signed with the key of its moment."""

    simulator: PartnerCenter

    def prepare(self, delivery: Delivery) -> tuple[str, dict[str, str], bytes]:
        return delivery.url, self.simulator.signed_headers(delivery.body, delivery.context["_alternate"]), delivery.body

    def attempted(self, delivery: Delivery, attempt: dict[str, Any]) -> None:
        self.simulator.registration.attempted(delivery, attempt)

    def finished(self, delivery: Delivery) -> None:
        self.simulator.registration.finished(delivery)


class PartnerCenter(Simulator):
    """Simulator of Microsoft Partner Center: tokens, webhook registration, Referrals API, signed webhooks."""

    title = "Partner Center simulator"
    setting_definitions = {
        **TOKEN_SETTINGS,
        **REGISTRATION_SETTINGS,
        **STORE_SETTINGS,
        **REFERRAL_SETTINGS,
        **EVENT_SETTINGS,
    }

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.signer = Signer(options.signing_dir)
        self.tokens = Tokens(self)
        self.registration = Registration(self)
        self.store = Store(self)
        self.api = ReferralsApi(self)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--signing-dir",
            metavar="DIR",
            help="keeps the signing CA and certificate: ca.pem, leaf.pem, leaf.der, leaf.key; re-used if there",
        )
        parser.add_argument("--cert-url-base", metavar="URL", help="start of the certificate's URL (own address)")
        parser.add_argument(
            "--refresh-token",
            default="simulated-refresh-token",
            metavar="TEXT",
            help="first refresh token (simulated-refresh-token)",
        )

    def make_deliveries(self) -> DeliveryWorker:
        return SignedDeliveries(self)

    def reset_state(self) -> None:
        self.tokens.reset()
        self.registration.reset()
        self.store.reset()

    def state(self) -> dict[str, Any]:
        return {
            "referrals": [referral.document for referral in self.store.referrals.values()],
            "registration": self.registration.shown(True) if self.registration.current else None,
            "validations": list(self.registration.validations.values()),
        }

    def add_routes(self, router: web.UrlDispatcher) -> None:
        self.tokens.add_routes(router)
        self.registration.add_routes(router)
        self.api.add_routes(router)
        router.add_get("/cert/{name}.cer", self._certificate)
        router.add_get("/_sim/referrals", self._sim_list)
        router.add_post("/_sim/referrals", self._sim_create)
        router.add_get("/_sim/referrals/{id}", self._sim_get)
        router.add_patch("/_sim/referrals/{id}", self._sim_edit)
        router.add_post("/_sim/referrals/{id}/microsoft", self._sim_microsoft)
        router.add_post("/_sim/referrals/{id}/expire", self._sim_expire)
        router.add_get("/_sim/engagements/{id}", self._sim_engagement)
        router.add_put("/_sim/registration", self._sim_registration)
        router.add_delete("/_sim/registration", self._sim_registration_remove)
        router.add_post("/_sim/events", self._sim_event)
        router.add_post("/_sim/sign", self._sim_sign)
        router.add_post("/_sim/signing/rotate", self._sim_rotate)

    def error_response(self, request: web.Request, status: int) -> web.Response:
        if "/oauth2/" in request.path:
            return self.tokens.error(90002) if status == 404 else answer({"error": "temporarily_unavailable"}, status)
        if request.path.startswith("/webhooks/"):
            if status == 429:
                return answer({"statusCode": 429, "message": "Rate limit is exceeded."}, status)
            return registration.error(status, "The request could not be served.")
        if request.path.startswith("/cert/"):
            return web.Response(status=status, text="")
        return referrals.error(status)

    def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        if request.path.startswith("/webhooks/"):
            headers["MS-CorrelationId"] = request.headers.get("MS-CorrelationId") or self.ids.uuid()
            headers["MS-RequestId"] = request.headers.get("MS-RequestId") or self.ids.uuid()
            headers["X-Locale"] = "en-US"
        elif request.path.startswith("/v1.0/"):
            headers["request-id"] = self.ids.uuid()
            if "client-request-id" in request.headers:
                headers["client-request-id"] = request.headers["client-request-id"]
            headers["x-ms-ags-diagnostic"] = dump({"ServerInfo": {"DataCenter": "Simulated", "Slice": "SliceC"}})
            headers["timestamp"] = iso7(self.clock.ticks())
        elif "/oauth2/" in request.path:
            headers["x-ms-request-id"] = self.ids.uuid()
        if self.settings["gzip"] and response.content_type == "application/json":
            response.enable_compression()

    # Webhooks.

    def certificate_url(self) -> str:
        base = (self.options.cert_url_base or f"{self.base_url}/cert").rstrip("/")
        return f"{base}/{self.signer.name}.cer"

    def signed_headers(self, body: bytes, alternate: bool) -> dict[str, str]:
        algorithm = self.settings["signature_algorithm"]
        return {
            "Content-Type": "application/json",
            "x-ms-signature" if alternate else "Authorization": f"Signature {self.signer.sign(body, algorithm)}",
            "X-MS-Certificate-Url": self.certificate_url(),
            "X-MS-Signature-Algorithm": algorithm,
            "Accept-Encoding": "gzip, deflate",
        }

    def emit(self, name: str, resource: str, uri: str, context: dict[str, Any], audit: str | None = None) -> bool:
        """Queues the event for the registered URL; False if nobody is registered for it."""
        if not self.registration.wants(name):
            return False
        body = {
            "EventName": name,
            "ResourceUri": uri,
            "ResourceName": resource,
            "AuditUri": audit,
            "ResourceChangeUtcDate": iso7(self.clock.ticks(), "+00:00"),
        }
        self._send(name, dump(body).encode(), context)
        return True

    def _send(self, name: str, body: bytes, context: dict[str, Any]) -> None:
        current = self.registration.current
        assert current is not None
        alternate = current["SignatureTokenToMsSignatureHeader"]
        self.deliveries.send(
            name,
            current["WebhookUrl"],
            body,
            context={**context, "_alternate": alternate},
            delay_ms=self.settings["event_delay_ms"],
        )

    async def _certificate(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != self.signer.name:
            raise web.HTTPNotFound
        content = self.signer.document(self.settings["cert_format"], self.settings["cert_chain"])
        return web.Response(body=content, content_type="application/octet-stream")

    # Admin.

    async def _sim_list(self, request: web.Request) -> web.Response:
        return answer({"referrals": [referral.document for referral in self.store.referrals.values()]})

    async def _sim_create(self, request: web.Request) -> web.Response:
        return answer(self.store.make(await admin_body(request, exact=True)).document, 201)

    async def _sim_get(self, request: web.Request) -> web.Response:
        return answer(self.store.known(request.match_info["id"]).document)

    async def _sim_edit(self, request: web.Request) -> web.Response:
        referral = self.store.known(request.match_info["id"])
        self.store.edit(referral, await admin_body(request, exact=True))
        return answer(referral.document)

    async def _sim_microsoft(self, request: web.Request) -> web.Response:
        referral = self.store.known(request.match_info["id"])
        return answer(self.store.microsoft(referral, await admin_body(request)).document)

    async def _sim_expire(self, request: web.Request) -> web.Response:
        referral = self.store.known(request.match_info["id"])
        self.store.expire(referral)
        return answer(referral.document)

    async def _sim_engagement(self, request: web.Request) -> web.Response:
        parties = self.store.engagement(request.match_info["id"].lower())
        if not parties:
            raise AdminError("no such engagement", 404)
        own = [each.document for each in parties if not each.is_related]
        return answer({"own": own, "microsoft": [each.document for each in parties if each.is_related]})

    async def _sim_registration(self, request: web.Request) -> web.Response:
        body = await admin_body(request)
        body.setdefault("WebhookEvents", registration.EVENTS)
        problem = self.registration.problem(body)
        if problem:
            raise AdminError(problem)
        return answer(self.registration.store(body))

    async def _sim_registration_remove(self, request: web.Request) -> web.Response:
        self.registration.current = None
        return answer({"ok": True})

    async def _sim_event(self, request: web.Request) -> web.Response:
        """Any event, signed and delivered as it stands; the registered list does not matter."""
        body = await admin_body(request)
        if self.registration.current is None:
            raise AdminError("no webhook is registered", 409)
        self._send(str(body.get("EventName")), dump(body).encode(), {})
        return answer({"ok": True})

    async def _sim_sign(self, request: web.Request) -> web.Response:
        """The headers that a delivery of these bytes would carry."""
        body = await admin_body(request)
        if not isinstance(body.get("body"), str):
            raise AdminError("body must be a string")
        return answer({"headers": self.signed_headers(body["body"].encode(), bool(body.get("alternate", False)))})

    async def _sim_rotate(self, request: web.Request) -> web.Response:
        """A new certificate: with `name` under a new URL, without one under the old URL."""
        try:
            self.signer.rotate((await admin_body(request)).get("name"))
        except ValueError as problem:
            raise AdminError(str(problem), 409) from None
        return answer({"url": self.certificate_url()})


if __name__ == "__main__":
    main(PartnerCenter)
