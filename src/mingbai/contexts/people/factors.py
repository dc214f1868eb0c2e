"""How second factors are kept: the secrets of authenticator apps are encrypted, so that a copy of the database alone
makes no codes. The key comes from `console.key`, which lies beside the database and not in it.
"""

from __future__ import annotations

import base64
import os

from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from mingbai.kernel.errors import MingbaiError


class FactorUnreadable(MingbaiError):
    """A second factor was encrypted with another `console.key`."""

    code = "factor_unreadable"
    template = "the second factor cannot be read: console.key is another one; an administrator can reset it"


class FactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types
    """What allauth asks how to keep a secret."""

    def encrypt(self, text: str) -> str:
        nonce = os.urandom(12)
        return base64.b64encode(nonce + _cipher().encrypt(nonce, text.encode(), None)).decode()

    def decrypt(self, encrypted_text: str) -> str:
        raw = base64.b64decode(encrypted_text)
        try:
            return _cipher().decrypt(raw[:12], raw[12:], None).decode()
        except InvalidTag as error:
            raise FactorUnreadable() from error


def _cipher() -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, None, b"mingbai second factors 1").derive(settings.SECRET_KEY.encode()))
