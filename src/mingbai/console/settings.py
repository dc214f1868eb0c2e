"""Django's settings, made from `mingbai.settings`: nothing is read from the environment here."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

from mingbai.console.translations import ensure_compiled
from mingbai.settings import Settings, is_loopback, load_settings

MINGBAI: Settings = load_settings()
_HERE = Path(__file__).parent
_console = MINGBAI.console
_listens = urlsplit(f"//{_console.address}")


def _secret_key() -> str:
    """Made at the first start, readable by its owner alone; every process of the console has the same."""
    path = MINGBAI.data / "console.key"
    MINGBAI.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        for _ in range(100):  # another process may be between making and writing it
            if key := path.read_text(encoding="ascii").strip():
                return key
            import time

            time.sleep(0.01)
        raise
    with os.fdopen(handle, "w") as file:
        key = secrets.token_urlsafe(48)
        file.write(key)
    return key


SECRET_KEY = _secret_key()
DEBUG = False
ALLOWED_HOSTS = [*_console.hosts, *(["localhost", "127.0.0.1", "[::1]"]), _listens.hostname or "localhost"]
if not is_loopback(_listens.hostname or "") and not _console.hosts:
    ALLOWED_HOSTS = [name for name in ALLOWED_HOSTS if name not in ("0.0.0.0", "::")]  # noqa: S104 - compared, not bound

INSTALLED_APPS = [
    "mingbai.contexts.audit",
    "mingbai.contexts.people",
    "mingbai.contexts.messaging",
    "mingbai.console",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
]
MIDDLEWARE = [
    "mingbai.console.middleware.SecurityHeaders",
    "django.middleware.security.SecurityMiddleware",
    "mingbai.console.middleware.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "mingbai.console.middleware.Language",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "mingbai.contexts.people.rights.RightsMiddleware",
    "mingbai.contexts.people.http_api.ApiGate",
    "mingbai.console.middleware.Errors",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "mingbai.console.urls"
WSGI_APPLICATION = "mingbai.console.wsgi.application"
CONSOLE_TEMPLATES = _HERE / "templates"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [CONSOLE_TEMPLATES],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "mingbai.console.context_processors.page",
            ],
        },
    },
]

# -- data


def _database() -> dict[str, Any]:  # Any: what Django takes
    if MINGBAI.database_url is not None:
        found: dict[str, Any] = dict(
            dj_database_url.parse(MINGBAI.database_url.get_secret_value(), conn_max_age=600, conn_health_checks=True)
        )
        return found
    return {
        "ENGINE": "mingbai.console.sqlite",
        "NAME": MINGBAI.data / "console.sqlite3",
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # A write transaction takes its lock at once, instead of failing half-way when another one got in between.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # FULL: what was acknowledged is on the disk, also when the power fails (transactions: console.sqlite.base).
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
            "PRAGMA mmap_size=134217728; PRAGMA cache_size=-16000; PRAGMA wal_autocheckpoint=8000;",
        },
        "TEST": {"NAME": None},
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        # Sign-in throttling counts here: shared by all processes, and not forgotten at a restart.
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "console_cache",
    }
}

# -- people

AUTH_USER_MODEL = "people.Account"
AUTHENTICATION_BACKENDS = ["mingbai.contexts.people.backend.AccountBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "mingbai.console.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 900
ACCOUNT_RATE_LIMITS = {"login": "600/m/ip", "login_failed": "10/m/ip,5/300s/key"}
ACCOUNT_USER_MODEL_EMAIL_FIELD = None
SOCIALACCOUNT_ADAPTER = "mingbai.console.adapters.DirectoryAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = False
SOCIALACCOUNT_AUTO_SIGNUP = True
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {}  # Any: what allauth takes
if _console.oidc_url and _console.oidc_client_id and _console.oidc_client_secret:
    SOCIALACCOUNT_PROVIDERS["openid_connect"] = {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "directory",
                "name": _console.oidc_name,
                "client_id": _console.oidc_client_id,
                "secret": _console.oidc_client_secret.get_secret_value(),
                "settings": {"server_url": _console.oidc_url},
            }
        ],
    }
MFA_ADAPTER = "mingbai.contexts.people.factors.FactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_PASSKEY_SIGNUP_ENABLED = False
MFA_TOTP_ISSUER = "Mingbai"
MFA_TOTP_TOLERANCE = 1  # one step of 30 s early or late, for telephones whose clock is off (RFC 6238, section 5.2)
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = is_loopback(_listens.hostname or "")
USERSESSIONS_TRACK_ACTIVITY = False  # it would write a row with every request

# -- cookies and headers

SESSION_ENGINE = "mingbai.console.sessions"
SESSION_COOKIE_AGE = _console.session_hours * 3600
SESSION_COOKIE_NAME = "mingbai_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _console.behind_tls
CSRF_COOKIE_NAME = "mingbai_csrf"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [f"https://{name}" for name in _console.hosts] if _console.behind_tls else []
CSRF_FAILURE_VIEW = "mingbai.console.views.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if _console.behind_tls:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 << 20

# -- languages

LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", "简体中文"), ("en", "English")]
LANGUAGE_COOKIE_NAME = "mingbai_language"
LANGUAGE_COOKIE_SAMESITE = "Lax"
LOCALE_PATHS = [ensure_compiled(_HERE / "locale", MINGBAI.data / "run" / "locale")]
USE_I18N = True
USE_TZ = True
TIME_ZONE = _console.time_zone

STATIC_URL = "/static/"
STATICFILES_DIRS = [_HERE / "static"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "mingbai.kernel.logs.FieldFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
SILENCED_SYSTEM_CHECKS: list[str] = []
