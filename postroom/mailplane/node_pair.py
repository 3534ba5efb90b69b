"""A node's key and its certificate, by which the other nodes know it: for proxied logins, for mail
handed on, for ending sessions and for copies. And secrets sealed for the holder of such a key.

Nobody signs these certificates but their own keys (decision 0177): the other nodes take exactly the
certificates that stand in the database beside their nodes. Clients see the operator's certificate;
a node's own is chosen by the name that another node asks for (`NAME.node.internal`).
"""

import base64
import ipaddress
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=364)
# For clocks that differ.
BACKDATED = timedelta(hours=1)
LONGEST = timedelta(days=366)
RENEW_BEFORE = timedelta(days=30)
CURVE = ec.SECP256R1()
POINT_BYTES = 65
SECRET_BYTES = 32
# What cryptography raises for a certificate that it cannot read, beside ValueError.
NOT_READ = (
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)


@dataclass(frozen=True)
class Pair:
    """Certificate and private key, each PEM."""

    certificate: str
    key: str

    @property
    def pem(self) -> str:
        return self.key + self.certificate


def new(host: str, address: str, life: timedelta = LIFETIME) -> Pair:
    """A new key, and a certificate for a node's name and IP address, signed with that key."""
    key = ec.generate_private_key(CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM).decode(), private.decode())


def read(pem: str) -> Pair:
    """A pair as `Pair.pem` has written it. Raises ValueError, also where key and certificate do
    not belong together."""
    key, begin, rest = pem.partition("-----BEGIN CERTIFICATE-----")
    pair = Pair(begin + rest, key)
    if _public(_load(pair.certificate)) != _public(_private(key)):
        raise ValueError("the key is not that of the certificate")
    return pair


def check(certificate: str, host: str, address: str) -> None:
    """Raises ValueError unless a certificate is for this node alone: no authority, no other
    name, no long life."""
    try:
        found = _load(certificate)
        is_ours = isinstance(found.public_key(), ec.EllipticCurvePublicKey)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except NOT_READ as error:
        raise ValueError(str(error)) from None
    if not is_ours:
        raise ValueError("a key of another kind")
    if certificate != found.public_bytes(serialization.Encoding.PEM).decode():
        raise ValueError("more than one certificate")
    if set(names) != {x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))}:
        raise ValueError("other names than the node's")
    if constraints.ca:
        raise ValueError("an authority")
    if found.not_valid_after_utc - found.not_valid_before_utc > LONGEST:
        raise ValueError("good for more than a year")


def is_due(certificate: str, now: datetime) -> bool:
    """Whether it is time for another one."""
    return _load(certificate).not_valid_after_utc - RENEW_BEFORE <= now


def new_secret() -> str:
    """A text that nobody guesses."""
    return secrets.token_hex(SECRET_BYTES)


def seal(secret: str, certificate: str) -> str:
    """A secret that the holder of the certificate's key alone can open: ECIES with P-256,
    HKDF-SHA-256 (RFC 5869) and ChaCha20-Poly1305 (RFC 8439)."""
    receiver = _load(certificate).public_key()
    if not isinstance(receiver, ec.EllipticCurvePublicKey):
        raise ValueError("a key of another kind")
    once = ec.generate_private_key(receiver.curve)
    point = once.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    sealed = _cipher(once.exchange(ec.ECDH(), receiver), point).encrypt(bytes(12), secret.encode(), None)
    return base64.b64encode(point + sealed).decode()


def open_sealed(sealed: str, key: str) -> str:
    """What was sealed for this key. Raises ValueError."""
    content = base64.b64decode(sealed, validate=True)
    point, rest = content[:POINT_BYTES], content[POINT_BYTES:]
    private = _private(key)
    sender = ec.EllipticCurvePublicKey.from_encoded_point(private.curve, point)
    try:
        return _cipher(private.exchange(ec.ECDH(), sender), point).decrypt(bytes(12), rest, None).decode()
    except InvalidTag:
        raise ValueError("sealed for another key") from None


def _cipher(shared: bytes, point: bytes) -> ChaCha20Poly1305:
    """Each key seals once, so the nonce may be the same."""
    return ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, salt=point, info=b"postroom nodes").derive(shared))


def _load(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ValueError("a key of another kind")
    return found


def _public(owner: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    return owner.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
