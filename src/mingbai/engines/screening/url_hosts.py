"""What a host is: its registrable domain, whose it is, whether it is a shortener, a raw address or a look-alike.

`describe_host` is a pure function of the host and cached; nothing is looked up on a network. `host_in` decides whether
a run of host characters found in a message is a host at all: with `http://` or `www.` nearly anything is, alone it
needs a known suffix, and a suffix that is also a word needs more evidence, because people leave out the space after a
full stop.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from functools import cache, lru_cache
from importlib import resources

from mingbai.engines.screening import brands

CACHED_HOSTS = 1 << 16
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"0x[0-9a-f]{1,8}|[0-9]{1,11}")
_ASCII_START = re.compile(r"[A-Za-z0-9-]+")
_MAX_HOST = 253  # RFC 1035, 2.3.4


class UrlFlag(IntFlag):
    """What is noteworthy about a URL. OFFICIAL excludes all others."""

    NONE = 0
    OFFICIAL = 1  # a protected brand's own
    LOOKALIKE = 2  # imitates a protected brand
    SHORTENER = 4
    RAW_ADDRESS = 8  # an IP address instead of a name
    HIDDEN = 16  # written so that a filter misses it
    IDN = 32  # a name with characters beyond ASCII


_OFFICIAL, _LOOKALIKE, _SHORTENER = int(UrlFlag.OFFICIAL), int(UrlFlag.LOOKALIKE), int(UrlFlag.SHORTENER)
_RAW_ADDRESS, _IDN = int(UrlFlag.RAW_ADDRESS), int(UrlFlag.IDN)


class Evidence:
    """What stands around a run of host characters: bits of an int, because arithmetic on `IntFlag` is slow."""

    SCHEME = 1  # http:// and the like before it
    PATH = 2  # a path, query or port behind it
    CHINESE = 4  # a Chinese character right beside it
    HIDDEN = 8  # the run was not written plainly
    USERINFO = 16  # user@ before it, within a URL


@dataclass(frozen=True, slots=True)
class Host:
    """A host, canonical: lower case, IDN labels as xn--, an IPv4 address dotted."""

    name: str
    domain: str  # registrable domain; the address itself for a raw address
    flags: int  # of `UrlFlag`
    brand: str  # id of the brand that it is or imitates, or ""
    key: int  # stable 64-bit hash of `domain`, for tables of hosts seen


@dataclass(frozen=True, slots=True)
class _Suffixes:
    classes: dict[str, str]  # top-level domain -> sure, plain or word
    public: frozenset[str]  # suffixes of two and more labels, and all top-level domains


def to_ascii(host: str) -> str | None:
    """Canonical form of a host name, None if it cannot be one. IDNA 2003, with plain punycode where that refuses."""
    labels = []
    for label in host.lower().rstrip(".").split("."):
        if not label.isascii():
            try:
                label = label.encode("idna").decode("ascii")
            except UnicodeError:
                label = "xn--" + label.encode("punycode").decode("ascii")
        if not _LABEL.fullmatch(label):
            return None
        labels.append(label)
    name = ".".join(labels)
    return name if len(name) <= _MAX_HOST else None


def to_unicode(name: str) -> str:
    """Inverse of `to_ascii` as far as labels decode."""
    return ".".join(_decoded(label) for label in name.split(".")) if "xn--" in name else name


def _decoded(label: str) -> str:
    if label.startswith("xn--"):
        try:
            return label[4:].encode("ascii").decode("punycode")
        except UnicodeError:
            return label
    return label


def canonical_domain(value: str) -> str | None:
    """A domain as written in a rulebook, perhaps with `*.` or `.` in front -> canonical form; None if it is none."""
    return to_ascii(value.removeprefix("*").removeprefix("."))


@cache
def suffixes() -> _Suffixes:
    classes: dict[str, str] = {}
    public: set[str] = set()
    section = ""
    text = resources.files("mingbai.engines.screening").joinpath("data/suffixes.txt").read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            for suffix in line.split():
                name = to_ascii(suffix)
                assert name is not None, suffix
                public.add(name)
                if section in ("sure", "plain", "word"):
                    classes[name] = section
    return _Suffixes(classes, frozenset(public))


@cache
def _shorteners() -> frozenset[str]:
    text = resources.files("mingbai.engines.screening").joinpath("data/shorteners.txt").read_text("utf-8")
    return frozenset(line for line in text.split() if not line.startswith("#"))


def split_host(name: str) -> tuple[list[str], str]:
    """Canonical host -> (labels without the public suffix, suffix). `a.b.co.uk` -> (["a", "b"], "co.uk")."""
    labels = name.split(".")
    public = suffixes().public
    for start in range(len(labels)):
        suffix = ".".join(labels[start:])
        if suffix in public:
            return labels[:start], suffix
    return labels[:-1], labels[-1]


def raw_address(host: str) -> str | None:
    """An IPv4 address in any form browsers take (dotted, decimal, hexadecimal, octal, short) or [IPv6] -> canonical.

    Source: WHATWG URL Standard, "IPv4 parser" and "IPv6 parser". None if the host is not an address.
    """
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host.strip('[]'))}]"
        except ValueError:
            return None
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(p) for p in parts):
        return None
    values = []
    for part in parts:
        is_octal = len(part) > 1 and part[0] == "0" and part[1] != "x"
        if is_octal and not set(part) <= set("01234567"):
            return None
        values.append(int(part, 16 if part.startswith("0x") else 8 if is_octal else 10))
    last = values.pop()
    if any(v > 255 for v in values) or last >= 256 ** (4 - len(values)):
        return None
    number = last
    for position, value in enumerate(values):
        number += value << (8 * (3 - position))
    return str(ipaddress.IPv4Address(number))


@lru_cache(CACHED_HOSTS)
def describe_host(name: str) -> Host:
    """Everything there is to say about a canonical host name or address."""
    address = raw_address(name)
    if address is not None:
        return Host(address, address, _RAW_ADDRESS, "", _key(address))
    labels, suffix = split_host(name)
    domain = f"{labels[-1]}.{suffix}" if labels else suffix
    own = brands.official_brand(name, labels[-1] if labels else "", suffix)
    if own:
        return Host(name, domain, _OFFICIAL, own, _key(domain))
    flags = _IDN if "xn--" in name else 0
    if name.removeprefix("www.") in _shorteners() or domain in _shorteners():
        return Host(name, domain, flags | _SHORTENER, "", _key(domain))
    imitated = brands.imitated_brand([_decoded(label) for label in labels], to_unicode(suffix))
    if imitated:
        flags |= _LOOKALIKE
    return Host(name, domain, flags, imitated, _key(domain))


def _key(domain: str) -> int:
    return int.from_bytes(hashlib.blake2b(domain.encode(), digest_size=8).digest(), "little")


@lru_cache(CACHED_HOSTS)
def host_in(run: str, evidence: int) -> tuple[Host, int] | None:
    """The host at the beginning of a run of host characters, and its length in the run; None if there is none.

    run: letters, digits, hyphens, underscores and dots, or [IPv6], as they stand in the text; evidence: `Evidence`.
    What follows the longest prefix that ends in a known suffix is left out (`www.a.com.Thanks`).
    """
    if evidence & Evidence.SCHEME:
        address = raw_address(run.lower().rstrip("."))
        if address is not None:
            return describe_host(address), len(run)
        name = to_ascii(run) if run.isascii() and "." in run else None
        # With a path behind it the run is whole, whatever its suffix; so it is if a brand owns it (mydhl.express.dhl).
        if name is not None and (evidence & Evidence.PATH or describe_host(name).flags & _OFFICIAL):
            return describe_host(name), len(run)
    elif evidence & Evidence.PATH and run.count(".") == 3 and raw_address(run) is not None:
        return describe_host(run), len(run)
    labels = run.split(".")
    for count in range(len(labels), 1, -1):
        for last in _endings(labels[count - 1]):
            text = ".".join([*labels[: count - 1], last])
            name = to_ascii(text)
            if name is not None and _is_host(name, evidence, is_whole=len(text) == len(run)):
                return describe_host(name), len(text)
    if evidence & Evidence.SCHEME and run.isascii() and "." in run:
        name = to_ascii(run)  # an unknown suffix behind http:// is a host all the same
        if name is not None:
            return describe_host(name), len(run)
    return None


def _endings(label: str) -> Iterator[str]:
    """A label, and what of it may be meant if a sentence goes on without a space (`com点击`, `中国点击`)."""
    yield label
    if not label.isascii():
        ascii_part = _ASCII_START.match(label)
        if ascii_part:
            yield ascii_part[0]
        yield from (s for s in _chinese_suffixes() if label.startswith(s))


@cache
def _chinese_suffixes() -> tuple[str, ...]:
    return tuple(to_unicode(s) for s in suffixes().classes if s.startswith("xn--"))


def _is_host(name: str, evidence: int, *, is_whole: bool) -> bool:
    labels = name.split(".")
    kind = suffixes().classes.get(labels[-1])
    if kind is None or "" in labels:
        return False
    if evidence & Evidence.SCHEME or (labels[0] in ("www", "wap") and len(labels) > 2):
        return True
    registered = split_host(name)[0]
    if not registered:
        return False
    if evidence & Evidence.PATH and is_whole:
        return True
    name_part = _decoded(registered[-1])
    if name_part.isdigit() and len(name_part) < 4:
        return False  # "3.cn" alone is a number in a sentence more often than a host
    if kind != "word" or "-" in name_part:
        return True
    is_short = len(labels[-1]) == 2  # so, in, to: more often a word than a country
    if not is_short and any(c.isdigit() for c in name_part):
        return True
    if not is_short and evidence & Evidence.CHINESE and not evidence & Evidence.HIDDEN:
        return True
    flags = describe_host(name).flags
    # "on Linkedin.If you" names a brand; "linkedinlogin.info" imitates one.
    return bool(flags & _OFFICIAL or (flags & _LOOKALIKE and not brands.is_token(name_part)))
