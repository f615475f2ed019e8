"""Signs webhook deliveries as Partner Center does: RSA PKCS#1 v1.5 over the raw body, certificate behind a URL.

The certificates are made here and belong to nobody; they carry the names that the real ones carry, because a
receiver checks the issuer's organisation (Partner Center webhooks, signature verification).
"""

from __future__ import annotations

import base64
import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

LEAF_NAME = "pcnotifications-dispatch.microsoft.com"
HASHES = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}


def name_of(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Microsoft Corporation"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def key_usage(certificate_signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificate_signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificate_signing,
        crl_sign=certificate_signing,
        encipher_only=False,
        decipher_only=False,
    )


def make_certificate(
    subject: x509.Name, key: rsa.RSAPrivateKey, issuer: x509.Name, issuer_key: rsa.RSAPrivateKey, authority: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650 if authority else 365))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(key_usage(certificate_signing=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(path: pathlib.Path) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


class Signer:
    """CA and leaf; kept in `directory` (ca.pem, ca.key, leaf.pem, leaf.der, leaf.key) if one is given."""

    def __init__(self, directory: str | None) -> None:
        self.directory = pathlib.Path(directory) if directory else None
        self.name = LEAF_NAME
        if self.directory and all((self.directory / name).exists() for name in ("ca.pem", "leaf.pem", "leaf.key")):
            self.ca = x509.load_pem_x509_certificate((self.directory / "ca.pem").read_bytes())
            self.leaf = x509.load_pem_x509_certificate((self.directory / "leaf.pem").read_bytes())
            self.key = load_key(self.directory / "leaf.key")
            ca_key = self.directory / "ca.key"
            self._ca_key = load_key(ca_key) if ca_key.exists() else None
            self._write()
            return
        self._ca_key = new_key()
        name = name_of("Simulated Notifications CA")
        self.ca = make_certificate(name, self._ca_key, name, self._ca_key, authority=True)
        self._new_leaf()

    def _new_leaf(self) -> None:
        if self._ca_key is None:
            raise ValueError("the CA's key is not in the signing directory")
        self.key = new_key()
        self.leaf = make_certificate(name_of(LEAF_NAME), self.key, self.ca.subject, self._ca_key, authority=False)
        self._write()

    def _write(self) -> None:
        if not self.directory:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        files = {
            "ca.pem": self.ca.public_bytes(serialization.Encoding.PEM),
            "leaf.pem": self.leaf.public_bytes(serialization.Encoding.PEM),
            "leaf.der": self.leaf.public_bytes(serialization.Encoding.DER),
            "leaf.key": key_pem(self.key),
        }
        if self._ca_key is not None:
            files["ca.key"] = key_pem(self._ca_key)
        for name, content in files.items():
            (self.directory / name).write_bytes(content)

    def rotate(self, name: str | None) -> None:
        """A new leaf and key, under a new file name or (None) under the old one."""
        self._new_leaf()
        if name:
            self.name = name

    def document(self, form: str, chain: bool) -> bytes:
        """The file behind the certificate URL: DER is always the leaf alone."""
        if form == "der":
            return self.leaf.public_bytes(serialization.Encoding.DER)
        pem = self.leaf.public_bytes(serialization.Encoding.PEM)
        return pem + self.ca.public_bytes(serialization.Encoding.PEM) if chain else pem

    def sign(self, body: bytes, algorithm: str) -> str:
        digest = HASHES[algorithm.removeprefix("rsa-")]()
        return base64.b64encode(self.key.sign(body, padding.PKCS1v15(), digest)).decode()
