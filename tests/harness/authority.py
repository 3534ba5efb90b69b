"""A certificate authority of the tests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass
class Authority:
    """`path` is the file of its certificate."""

    path: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    @classmethod
    def new(cls, folder: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"the authority in {folder.name}")])
        found = cls(folder / "authority.pem", key, name)
        builder = found._builder(name, key, x509.BasicConstraints(ca=True, path_length=0))
        builder = builder.add_extension(SIGNS, critical=True)
        found.path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return found

    def issue(self, *hosts: str, names_authority: bool = False) -> tuple[Path, str]:
        """Returns a file with a key and its certificate, and the TLSA record (3 1 1) of the key.
        Python 3.13 by default refuses a certificate that does not name its authority's key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([]), key, x509.BasicConstraints(ca=False, path_length=None))
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        if names_authority:
            own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(own, critical=False)
        certificate = builder.add_extension(names, critical=True).sign(self.key, hashes.SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self.path.with_name(f"{hosts[0]}.pem")
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(public)
        return path, f"3 1 1 {digest.finalize().hex()}"

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, constraints: x509.BasicConstraints
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
