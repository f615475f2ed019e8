"""The token endpoint of Microsoft Entra ID, version 2, for client credentials (Dataverse reference, 1)."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

CLIENT_CREDENTIALS = "client_credentials"


@dataclass(frozen=True)
class Application:
    """The one registered application."""

    tenant: str
    client_id: str
    client_secret: str


class TokenRefused(Exception):
    """An answer of the token endpoint other than a token."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.number = number
        self.text = text


class TokenService:
    """Issues tokens and knows which are alive. Tokens look like JWTs but are valid only by being known here."""

    def __init__(self, application: Application, settings: Any, new_id: Callable[[], str]) -> None:
        self._application = application
        self._settings = settings
        self._new_id = new_id
        self._expiries: dict[str, float] = {}

    def revoke_all(self) -> None:
        self._expiries.clear()

    def issue(self, tenant: str, form: Mapping[str, str], resources: tuple[str, ...]) -> dict[str, Any]:
        """The answer to a token request. Raises TokenRefused."""
        self._check(tenant, form, resources)
        lifetime = self._settings["token_lifetime_seconds"]
        token = self._make(form["scope"].removesuffix("/.default"), lifetime)
        self._expiries[token] = time.time() + lifetime
        return {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}

    def accepts(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries a living token."""
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and self._expiries.get(token.strip(), 0) > time.time()

    def refusal(self, refused: TokenRefused) -> dict[str, Any]:
        """The JSON body of a refusal."""
        trace, correlation = self._new_id(), self._new_id()
        moment = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
        text = f"AADSTS{refused.number}: {refused.text}"
        return {
            "error": refused.error,
            "error_description": f"{text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {moment}",
            "error_codes": [refused.number],
            "timestamp": moment,
            "trace_id": trace,
            "correlation_id": correlation,
        }

    def _check(self, tenant: str, form: Mapping[str, str], resources: tuple[str, ...]) -> None:
        if tenant != self._application.tenant:
            raise TokenRefused(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        for name in ("grant_type", "client_id", "scope"):
            if not form.get(name):
                text = f"The request body must contain the following parameter: '{name}'."
                raise TokenRefused(400, "invalid_scope" if name == "scope" else "invalid_request", 900144, text)
        if form["grant_type"] != CLIENT_CREDENTIALS:
            raise TokenRefused(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        if form["client_id"] != self._application.client_id:
            raise TokenRefused(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        self._check_scope(form["scope"], resources)
        if not form.get("client_secret"):
            text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            raise TokenRefused(401, "invalid_client", 7000218, text)
        if not hmac.compare_digest(form["client_secret"].encode(), self._application.client_secret.encode()):
            raise TokenRefused(401, "invalid_client", 7000215, "Invalid client secret provided.")

    @staticmethod
    def _check_scope(scope: str, resources: tuple[str, ...]) -> None:
        if " " in scope or not scope.endswith("/.default"):
            raise TokenRefused(
                400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid."
            )
        if scope.removesuffix("/.default") not in resources:
            raise TokenRefused(400, "invalid_resource", 500011, "The resource principal was not found in the tenant.")

    def _make(self, audience: str, lifetime: int) -> str:
        now = int(time.time())
        claims = {
            "aud": audience,
            "appid": self._application.client_id,
            "tid": self._application.tenant,
            "iat": now,
            "exp": now + lifetime,
            "jti": self._new_id(),
        }
        parts = ({"typ": "JWT", "alg": "RS256"}, claims)
        encoded = [_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts]
        return ".".join([*encoded, _base64url(self._new_id().encode())])


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
