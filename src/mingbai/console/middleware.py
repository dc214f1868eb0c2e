"""Headers, language and errors of every page."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.cache import patch_vary_headers

from mingbai.contexts.audit.words import said
from mingbai.kernel.errors import MingbaiError

Answer = Callable[[HttpRequest], HttpResponse]

# Nothing from elsewhere, nothing inline, no frame: what gets into a page cannot do anything (CSP level 3).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; manifest-src 'self'"
)


class SecurityHeaders:
    """Content-Security-Policy and its relatives, and no caching of anything that belongs to somebody."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if not request.path.startswith(settings.STATIC_URL):
            response.headers.setdefault("Cache-Control", "no-store")
        return response


class _Static(NamedTuple):
    content: bytes
    packed: bytes | None  # with gzip, where that makes it smaller
    kind: str
    tag: str


@cache
def _static(name: str) -> _Static | None:
    found = finders.find(name)
    if not isinstance(found, str) or not Path(found).is_file():
        return None
    content = Path(found).read_bytes()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = None
    if kind.startswith("text/") or kind in ("application/javascript", "image/svg+xml"):
        kind += "; charset=utf-8"
        packed = gzip.compress(content, mtime=0)
    return _Static(content, packed, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class StaticFiles:
    """The project's own few files, from memory. What a browser has, it does not fetch again."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(settings.STATIC_URL):
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405)
        found = _static(request.path.removeprefix(settings.STATIC_URL))
        if found is None:
            return HttpResponse(status=404)
        takes_gzip = found.packed is not None and "gzip" in request.headers.get("Accept-Encoding", "")
        tag = f'{found.tag[:-1]}-gz"' if takes_gzip else found.tag
        if request.headers.get("If-None-Match") == tag:
            response = HttpResponse(status=304)
        elif takes_gzip and found.packed is not None:
            response = HttpResponse(found.packed, content_type=found.kind, headers={"Content-Encoding": "gzip"})
        else:
            response = HttpResponse(found.content, content_type=found.kind)
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["ETag"] = tag
        response.headers["Cache-Control"] = "public, max-age=300"
        return response


class Language:
    """The language of a request: what was chosen (cookie), what the account says, what the browser asks for."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        known = dict(settings.LANGUAGES)
        chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")
        if chosen not in known:
            chosen = _asked(request.headers.get("Accept-Language", ""))
        with translation.override(chosen):
            request.LANGUAGE_CODE = chosen
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", chosen)
        patch_vary_headers(response, ("Accept-Language", "Cookie"))
        return response


def _asked(header: str) -> str:
    """The first of our languages that a browser asks for. Chinese of any kind is Simplified Chinese here."""
    for part in header.split(","):
        name = part.split(";")[0].strip().lower()
        if name.startswith("zh"):
            return "zh-hans"
        if name.startswith("en"):
            return "en"
    return settings.LANGUAGE_CODE


class Errors:
    """An error of the house becomes a page that says what was wrong, with the status that fits."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, MingbaiError) or request.path.startswith("/api/"):
            return None
        status = 503 if error.retryable else 400
        return render(request, f"{status}.html", {"error": said(error)}, status=status)


def not_found() -> Http404:
    return Http404()
