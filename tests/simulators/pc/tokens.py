"""Entra's token endpoint, as far as a service with a stored refresh token meets it (Secure Application Model).

Grants: refresh_token, authorization_code and client_credentials. Signing in with a browser is not simulated: the code it
would end with is given by `POST /_sim/tokens/code`, the first refresh token by `--refresh-token`, further ones by
`POST /_sim/tokens/issue`.
"""

from __future__ import annotations

import base64
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from chassis import REDACTED, AdminError, Setting, admin_body, answer, dump

if TYPE_CHECKING:
    from partner_center import PartnerCenter

REGISTRATION_AUDIENCE = "https://api.partnercenter.microsoft.com"
REFERRALS_AUDIENCE = "https://api.partner.microsoft.com"
AUDIENCES = (REGISTRATION_AUDIENCE, REFERRALS_AUDIENCE)

# number: status, error, text
ERRORS: dict[int, tuple[int, str, str]] = {
    50076: (400, "interaction_required", "Multi-factor authentication must be used to access the resource."),
    50079: (400, "interaction_required", "The user is required to enroll in multi-factor authentication."),
    50173: (400, "invalid_grant", "The provided grant has expired due to it being revoked."),
    65001: (400, "invalid_grant", "The user or administrator has not consented to use the application."),
    70000: (400, "invalid_grant", "Provided grant is invalid or malformed."),
    70003: (400, "unsupported_grant_type", "The app requested an unsupported grant type."),
    70011: (400, "invalid_scope", "The provided value for the input parameter 'scope' is not valid."),
    90002: (400, "invalid_request", "Tenant not found."),
    90014: (400, "invalid_request", "The required field is missing from the request."),
    500011: (400, "invalid_resource", "The resource principal was not found in the tenant."),
    700016: (400, "unauthorized_client", "Application with the identifier was not found in the directory."),
    700082: (400, "invalid_grant", "The refresh token has expired due to inactivity."),
    7000215: (401, "invalid_client", "Invalid client secret provided."),
    7000222: (401, "invalid_client", "The provided client secret keys are expired."),
}

TOKEN_SETTINGS: dict[str, Setting] = {
    "tenant": Setting("", "tenant that the token endpoint knows; empty: any"),
    "client_id": Setting("11111111-1111-4111-8111-111111111111", "application id"),
    "client_secret": Setting("simulated-client-secret", "its secret (of no worth outside the simulator)"),
    "token_lifetime_s": Setting(3599, "life of an access token"),
    "refresh_lifetime_s": Setting(90 * 86400, "life of a refresh token"),
    "refresh_rotation": Setting("keep-old", "what becomes of a used refresh token", ("keep-old", "revoke-old")),
    "refresh_grace_ms": Setting(0, "with revoke-old: time during which the used one still works"),
    "token_error": Setting(0, "AADSTS number which every token request is answered with", (0, *sorted(ERRORS))),
    "v2_scope": Setting(False, "the v2.0 endpoint with scope is accepted"),
    "mfa_enforced": Setting(True, "user tokens without an MFA claim are refused by the APIs"),
}


@dataclasses.dataclass
class RefreshToken:
    value: str
    expires: float
    mfa: bool
    revoked_at: float | None = None
    uses: int = 0


@dataclasses.dataclass
class AccessToken:
    value: str
    audience: str
    app_only: bool
    mfa: bool
    expires: float


def jwt(claims: dict[str, Any], tail: str) -> str:
    """Looks like a token; its signature is none. Clients must treat it as opaque."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(dump(value).encode()).rstrip(b"=").decode()

    return f"{part({'typ': 'JWT', 'alg': 'none'})}.{part(claims)}.{tail}"


class Tokens:
    """All tokens that were handed out."""

    def __init__(self, simulator: PartnerCenter) -> None:
        self.simulator = simulator
        self.refresh: dict[str, RefreshToken] = {}
        self.access: dict[str, AccessToken] = {}
        self.codes: set[str] = set()  # each is good once
        self.reset()

    def reset(self) -> None:
        self.refresh.clear()
        self.access.clear()
        self.codes.clear()
        self.issue_refresh(self.simulator.options.refresh_token, mfa=True)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/{tenant}/oauth2/token", self._token)
        router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        router.add_get("/_sim/tokens", self._show)
        router.add_post("/_sim/tokens/code", self._code)
        router.add_post("/_sim/tokens/issue", self._issue)
        router.add_post("/_sim/tokens/access", self._mint)
        router.add_post("/_sim/tokens/expire", self._expire)
        router.add_post("/_sim/tokens/revoke", self._revoke)

    def issue_refresh(self, value: str | None, mfa: bool) -> RefreshToken:
        value = value or f"0.Sim{self.simulator.ids.text(60)}"
        token = RefreshToken(value, time.time() + self.simulator.settings["refresh_lifetime_s"], mfa)
        self.refresh[value] = token
        return token

    def issue_access(self, audience: str, app_only: bool, mfa: bool) -> AccessToken:
        expires = time.time() + self.simulator.settings["token_lifetime_s"]
        claims: dict[str, Any] = {"aud": audience, "exp": int(expires), "idtyp": "app" if app_only else "user"}
        if not app_only:
            claims["amr"] = ["pwd", "mfa"] if mfa else ["pwd"]
        token = AccessToken(jwt(claims, self.simulator.ids.text(43)), audience, app_only, mfa, expires)
        self.access[token.value] = token
        return token

    def bearer(self, request: web.Request, audience: str) -> AccessToken | None:
        """The valid token of this audience that the request carries."""
        values = request.headers.getall("Authorization", [])
        if len(values) != 1 or not values[0].startswith("Bearer "):
            return None
        token = self.access.get(values[0].removeprefix("Bearer "))
        if token is None or token.audience != audience or token.expires <= time.time():
            return None
        return token

    def lacks_mfa(self, token: AccessToken) -> bool:
        return self.simulator.settings["mfa_enforced"] and not token.app_only and not token.mfa

    def error(self, number: int) -> web.Response:
        status, error, text = ERRORS[number]
        trace, correlation = self.simulator.ids.uuid(), self.simulator.ids.uuid()
        moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        body = {
            "error": error,
            "error_description": f"AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {correlation} "
            f"Timestamp: {moment}",
            "error_codes": [number],
            "timestamp": moment,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={number}",
        }
        return answer(body, status, {"Cache-Control": "no-store"})

    async def _token(self, request: web.Request) -> web.Response:
        settings = self.simulator.settings
        if settings["token_error"]:
            return self.error(settings["token_error"])
        if request.content_type != "application/x-www-form-urlencoded":
            return self.error(90014)
        if settings["tenant"] and request.match_info["tenant"] != settings["tenant"]:
            return self.error(90002)
        form = {name: str(value) for name, value in (await request.post()).items()}
        version = 2 if "/v2.0/" in request.path else 1
        if not form.get("client_id") or not form.get("grant_type"):
            return self.error(90014)
        if form["client_id"] != settings["client_id"]:
            return self.error(700016)
        if form.get("client_secret") != settings["client_secret"]:
            return self.error(7000215)
        audience = self._audience(form, version)
        if isinstance(audience, int):
            return self.error(audience)
        if form["grant_type"] == "client_credentials":
            return self._answer(self.issue_access(audience, True, False), version, None)
        if form["grant_type"] == "authorization_code":
            return self._redeem(form, audience, version)
        if form["grant_type"] != "refresh_token":
            return self.error(70003)
        return self._refresh(form.get("refresh_token", ""), audience, version)

    def _audience(self, form: dict[str, str], version: int) -> str | int:
        """The audience asked for, or the number of the error."""
        if version == 1:
            resource = form.get("resource", "").rstrip("/")
            return resource if resource in AUDIENCES else (500011 if resource else 90014)
        if not self.simulator.settings["v2_scope"]:
            return 70011
        asked = [audience for audience in AUDIENCES if f"{audience}/.default" in form.get("scope", "").split()]
        return asked[0] if len(asked) == 1 else 70011

    def _redeem(self, form: dict[str, str], audience: str, version: int) -> web.Response:
        """Somebody has signed in with MFA."""
        if not form.get("code") or not form.get("redirect_uri"):
            return self.error(90014)
        if form["code"] not in self.codes:
            return self.error(70000)
        self.codes.remove(form["code"])
        return self._answer(self.issue_access(audience, False, True), version, self.issue_refresh(None, True))

    def _refresh(self, value: str, audience: str, version: int) -> web.Response:
        settings = self.simulator.settings
        now = time.time()
        old = self.refresh.get(value)
        if old is None:
            return self.error(70000 if value else 90014)
        if old.revoked_at is not None and old.revoked_at <= now:
            return self.error(50173)
        if old.expires <= now:
            return self.error(700082)
        old.uses += 1
        if settings["refresh_rotation"] == "revoke-old" and old.revoked_at is None:
            old.revoked_at = now + settings["refresh_grace_ms"] / 1000
        fresh = self.issue_refresh(None, old.mfa)
        return self._answer(self.issue_access(audience, False, old.mfa), version, fresh)

    def _answer(self, access: AccessToken, version: int, refresh: RefreshToken | None) -> web.Response:
        now = int(time.time())
        life = self.simulator.settings["token_lifetime_s"]
        body: dict[str, Any] = {"token_type": "Bearer"}
        if version == 1:
            if refresh:
                body["scope"] = "user_impersonation"
            body |= {"expires_in": str(life), "ext_expires_in": str(life), "expires_on": str(now + life)}
            body |= {"not_before": str(now - 300), "resource": access.audience}
        else:
            if refresh:
                body["scope"] = f"{access.audience}/user_impersonation"
            body |= {"expires_in": life, "ext_expires_in": life}
        body["access_token"] = access.value
        if refresh:
            body["refresh_token"] = refresh.value
            body["id_token"] = jwt({"aud": self.simulator.settings["client_id"]}, "")
        return answer(body, 200, {"Cache-Control": "no-store", "Pragma": "no-cache"})

    # Admin.

    async def _show(self, request: web.Request) -> web.Response:
        now = time.time()
        valid = [t for t in self.refresh.values() if t.expires > now and (t.revoked_at is None or t.revoked_at > now)]
        return answer(
            {
                "refresh_tokens": [
                    {"value": REDACTED, "uses": t.uses, "mfa": t.mfa, "valid": t in valid}
                    for t in self.refresh.values()
                ],
                "access_tokens": sum(t.expires > now for t in self.access.values()),
            }
        )

    async def _code(self, _request: web.Request) -> web.Response:
        code = f"0.Code{self.simulator.ids.text(40)}"
        self.codes.add(code)
        return answer({"code": code})

    async def _issue(self, request: web.Request) -> web.Response:
        """A person signed in again: a new refresh token."""
        body = await admin_body(request)
        return answer({"refresh_token": self.issue_refresh(body.get("value"), bool(body.get("mfa", True))).value})

    async def _mint(self, request: web.Request) -> web.Response:
        """An access token without the dance, for work by hand."""
        body = await admin_body(request)
        audience = body.get("resource", REFERRALS_AUDIENCE)
        if audience not in AUDIENCES:
            raise AdminError(f"resource must be one of {list(AUDIENCES)}")
        token = self.issue_access(audience, bool(body.get("app_only", False)), bool(body.get("mfa", True)))
        return answer({"access_token": token.value})

    async def _expire(self, request: web.Request) -> web.Response:
        """All access tokens have run out; refresh tokens stay."""
        self.access.clear()
        return answer({"ok": True})

    async def _revoke(self, request: web.Request) -> web.Response:
        """The user's password was reset: all refresh tokens are revoked."""
        for token in self.refresh.values():
            token.revoked_at = 0
        return answer({"ok": True})
