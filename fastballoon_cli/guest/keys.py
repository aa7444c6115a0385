"""SSH keys of one VM: a client key that only it accepts, and a host key that is known before the first connection."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

__all__ = ["make_key_pair"]


def make_key_pair(private: Path, public: Path, *, prefix: str = "") -> None:
    """Write a new Ed25519 key pair in OpenSSH's formats; the private file is readable by its owner only.

    :param prefix: put before the public key, such as the host pattern of a known_hosts line.
    """
    key = Ed25519PrivateKey.generate()
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    public.write_text(f"{prefix}{line}\n")
