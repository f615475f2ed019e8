"""Sends webhooks to tandem-ingest as their senders do, or deliberately not: raw bytes over TLS, signed here."""

from __future__ import annotations

import base64
import datetime
import json
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

ORGANIZATION = "Microsoft Corporation"
CERTIFICATE_URL = "https://3psostorageacct.blob.core.windows.net/cert/pcnotifications-dispatch.microsoft.com.cer"
PARTNER_CENTER_PATH = "/webhooks/partner-center"
DYNAMICS_365_PATH = "/webhooks/dynamics-365"
REFERRALS = "https://api.partnercenter.microsoft.com/engagements/v1/referrals/"
ANSWER_SECONDS = 15

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def _name(common_name: str, organization: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not is_authority, False, False, False, False, is_authority, is_authority, False, False)


class SigningAuthority:
    """Issues the certificates that webhooks are signed with."""

    def __init__(self, organization: str = ORGANIZATION) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = _name("Test Notifications CA", organization)
        self.certificate = self._build(self.name, self.key, True, -10, 10)

    def _build(self, subject: x509.Name, key: SigningKey, is_authority: bool, first: float, last: float) -> Any:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=first))
            .not_valid_after(now + datetime.timedelta(days=last))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(_usage(is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(
        self, name: str = "notifications.example", key: SigningKey | None = None, first: float = -1, last: float = 1
    ) -> Signer:
        key = key or rsa.generate_private_key(65537, 2048)
        return Signer(key, self._build(_name(name, "Test"), key, False, first, last))

    def write(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path


class Signer:
    """A certificate with its key."""

    def __init__(self, key: SigningKey, certificate: x509.Certificate) -> None:
        self.key = key
        self.certificate = certificate
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, body: bytes) -> str:
        if isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = self.key.sign(body, ec.ECDSA(hashes.SHA256()))
        return base64.b64encode(signature).decode()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["status"] if self.status < 300 else self.json["error"]["code"]

    @property
    def request_id(self) -> str:
        return (self.json if self.status < 300 else self.json["error"])["request_id"]


class Connection:
    """One connection to the receiver; a context manager. Understands just the answers that it gives."""

    def __init__(self, port: int, authority: Path | None, address: str = "127.0.0.1") -> None:
        self._socket: socket.socket = socket.create_connection((address, port), ANSWER_SECONDS)
        if authority is not None:
            context = ssl.create_default_context(cafile=str(authority))
            context.set_alpn_protocols(["http/1.1"])
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """A receiver that refuses early may close while we are still sending."""
        try:
            self._socket.sendall(data)
        except OSError:
            pass

    def half_close(self) -> None:
        with suppress(OSError):  # the other end may have closed already
            self._socket.shutdown(socket.SHUT_WR)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            more = self._receive()
            if not more:
                raise EOFError(f"closed after {self._buffer!r}")
            self._buffer += more
        part, self._buffer = self._buffer.split(mark, 1)
        return part

    def interim(self) -> bytes:
        """The head of an answer before the real one."""
        return self._until(b"\r\n\r\n")

    def answer(self) -> Answer:
        lines = self._until(b"\r\n\r\n").decode("ascii").split("\r\n")
        version, status, _reason = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        length = int(headers["content-length"])
        while len(self._buffer) < length:
            more = self._receive()
            assert more, "closed within the body"
            self._buffer += more
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(int(status), headers, body)

    def is_closed(self) -> bool:
        """Waits until the other side closes; true if it did so without another byte."""
        self._socket.settimeout(ANSWER_SECONDS)
        return not self._buffer and self._receive() == b""

    def is_open(self) -> bool:
        """Whether it answers another request."""
        self.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            return self.answer().status == 404
        except EOFError:
            return False


def event(identifier: str, **changes: Any) -> dict[str, Any]:
    """A Partner Center event about this referral."""
    return {
        "EventName": "referral-updated",
        "ResourceUri": REFERRALS + identifier,
        "ResourceName": "referral",
        "AuditUri": None,
        "ResourceChangeUtcDate": "2024-03-07T14:03:11.0456789+00:00",
        **changes,
    }


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def request(
    body: bytes, headers: dict[str, str | None], path: str = PARTNER_CENTER_PATH, more: Iterable[bytes] = ()
) -> bytes:
    """A POST; headers that are None are left out, `more` are raw header lines."""
    base: dict[str, str | None] = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    lines = [f"{name}: {value}".encode("latin-1") for name, value in {**base, **headers}.items() if value is not None]
    return b"\r\n".join([f"POST {path} HTTP/1.1".encode("latin-1"), *lines, *more, b"", b""]) + body


def signed_headers(signer: Signer, body: bytes, url: str = CERTIFICATE_URL) -> dict[str, str | None]:
    return {
        "Authorization": "Signature " + signer.sign(body),
        "X-MS-Certificate-Url": url,
        "X-MS-Signature-Algorithm": "rsa-sha256",
    }


def signed_request(signer: Signer, body: bytes, url: str = CERTIFICATE_URL) -> bytes:
    return request(body, signed_headers(signer, body, url))
