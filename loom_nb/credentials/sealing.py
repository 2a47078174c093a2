"""Sealing: authenticated encryption of one record, bound to the facts that stand beside it in clear.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits a record, from the `cryptography` package. What
is bound (associated data) can be read without a key; if one byte of it or of the box is changed, or a box is
put beside other facts, opening fails. A passphrase becomes a key by Argon2id (RFC 9106).
"""

import os
from typing import NoReturn

from loom_nb.errors import SecretDamaged

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SALT_BYTES = 16
MEMORY_KIB = 65_536
"""64 MiB, with three passes over four lanes: the second choice of RFC 9106, section 4."""
PASSES = 3
LANES = 4


class SealingKey:
    """A key of 32 bytes that shows itself to nobody."""

    __slots__ = ("_bytes",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._bytes = bytes(key)

    @classmethod
    def fresh(cls) -> "SealingKey":
        """A new one, from the random numbers of the operating system."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def from_passphrase(cls, passphrase: str, salt: bytes) -> "SealingKey":
        """The key that a passphrase and a salt give; takes a part of a second and 64 MiB, on purpose.

        The passphrase is normalized (NFC), so that it opens on another keyboard too.
        """
        import unicodedata

        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        words = unicodedata.normalize("NFC", passphrase).encode()
        derive = Argon2id(salt=salt, length=KEY_BYTES, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
        return cls(derive.derive(words))

    def seal(self, text: bytes, facts: bytes) -> bytes:
        """The box of a text: nonce, ciphertext and tag."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._bytes).encrypt(nonce, text, facts)

    def unseal(self, box: bytes, facts: bytes) -> bytes:
        """The text of a box.

        Raises:
            SecretDamaged: the box or the facts are not those that were sealed, or this is another key.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(box) < NONCE_BYTES + TAG_BYTES:
            raise SecretDamaged("a sealed record is cut short")
        try:
            return AESGCM(self._bytes).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], facts)
        except InvalidTag:
            raise SecretDamaged(
                "a sealed record does not open: it was changed, or the key is another"
            ) from None

    def to_text(self) -> str:
        """For a keychain or a key file: URL-safe base64."""
        import base64

        return base64.urlsafe_b64encode(self._bytes).decode()

    @classmethod
    def from_text(cls, text: str) -> "SealingKey":
        """What `to_text` gave.

        Raises:
            ValueError: it is no key; the message does not hold it.
        """
        import base64
        import binascii

        try:
            key = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("a master key is 32 bytes in URL-safe base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"a master key is 32 bytes in URL-safe base64, not {len(key)}")
        return cls(key)

    def __repr__(self) -> str:
        return "<SealingKey>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is not pickled or copied")
