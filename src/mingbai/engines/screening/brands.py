"""Which protected brand a host imitates.

`imitated_brand` compares a host with the brands of `data/brands.toml`; `official_brand` says whose own a host is. Both
are pure functions of the host, so that `url_hosts` can cache what follows from them: traffic repeats hosts.

What counts as imitation, on a registrable domain that is not the brand's own:
- the brand's domain inside a foreign one: icbc.com.cn.evil.top, usps-com-track.top;
- the brand's token as a label or between hyphens: icbc.evil.top, usps-redelivery.top, paypal.xyz;
- joined to a word with which fraud surrounds it (a lure), or to digits: ezpasstolls.xyz, icbc888.com;
- written with look-alike characters: 1cbc, lcbc, paypa1, rnastercard, Cyrillic letters, hyphens inside (pay-pal);
- one edit away from a long token: facebok.com;
- the Chinese name in an internationalised domain.
Tokens that are words or short abbreviations (`weak`: ups, apple, etc) count only beside a lure. A wrong flag costs an
honest sender, so what is doubtful is not flagged.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

_NEAR_MIN_LENGTH = 6  # below this, one edit reaches too many honest names
_STRONG_WEAK_LENGTH = 5  # a weak token this long is still beyond doubt when it is spelt with look-alike characters

# Lures too common in any host to make a weak token suspicious.
_FAINT_LURES = frozenset(
    {"www", "my", "home", "index", "wap", "us", "uk", "cn", "web", "info", "app", "id", "sign", "team", "usa", "china"}
)
# Suffixes whose registries check the holder's Chinese name; under others fraud has used banks' names.
_CHECKED_IDN_SUFFIXES = frozenset({"中国", "中國", "公司", "网络", "政务", "公益", "企业"})
# Country suffixes that are sold cheaply to anybody and are not a brand's country site.
_OPEN_COUNTRY_SUFFIXES = frozenset(
    {"tk", "ml", "ga", "cf", "gq", "cc", "pw", "ws", "to", "me", "tv", "co", "la", "vc", "st", "su"}
)

_LOOKALIKES = str.maketrans(
    {
        **dict(zip("0123456789", "olzeasbtbg", strict=True)),
        **dict(zip("i|ıӏіι", "llllll", strict=True)),  # i, l and 1 are one stroke to a hurried reader
        **dict(zip("аеорсхуѕјһкмтвнԁɡ", "aeopcxysjhkmtbhdg", strict=True)),  # Cyrillic
        **dict(zip("αονρτυκχε", "aovptukxe", strict=True)),  # Greek
        **dict(zip("øđł", "odl", strict=True)),
    }
)


@dataclass(frozen=True, slots=True)
class Brand:
    """A protected brand: `id` is stable and stored; the names are for people."""

    id: str
    name: str
    name_zh: str


@dataclass(frozen=True, slots=True)
class _Index:
    """brands.toml, turned round for look-ups. Values are brand ids unless said otherwise."""

    brands: dict[str, Brand]
    official: dict[str, str]  # domain
    country_names: dict[str, str]  # name that a brand owns under every country suffix
    strong: dict[str, str]  # token
    weak: dict[str, str]  # token
    strong_skeletons: dict[str, str]  # skeleton of a token
    weak_skeletons: dict[str, str]
    near: dict[str, list[str]]  # a long token, and it with one character left out -> tokens
    chinese: dict[str, str]  # Chinese name
    lures: frozenset[str]
    genuine: frozenset[str]


@cache
def _index() -> _Index:
    text = resources.files("mingbai.engines.screening").joinpath("data/brands.toml").read_text("utf-8")
    data = tomllib.loads(text)
    index = _Index({}, {}, {}, {}, {}, {}, {}, {}, {}, frozenset(data["lures"]), frozenset(data["genuine"]))
    for brand_id, entry in data["brand"].items():
        index.brands[brand_id] = Brand(brand_id, entry["name"], entry["zh"])
        index.official.update(dict.fromkeys(entry["domains"], brand_id))
        if entry.get("countries"):
            index.country_names[entry["domains"][0].partition(".")[0]] = brand_id
        for token in entry["tokens"]:
            index.strong[token] = brand_id
            index.strong_skeletons[skeleton(token)] = brand_id
            if len(token) >= _NEAR_MIN_LENGTH and token.isalpha() and entry.get("near", True):
                for form in (token, *_one_left_out(token)):
                    index.near.setdefault(form, []).append(token)
        for token in entry.get("weak", []):
            index.weak[token] = brand_id
            if len(token) >= _STRONG_WEAK_LENGTH:
                index.weak_skeletons[skeleton(token)] = brand_id
        if not entry["zh"].isascii():
            index.chinese[entry["zh"]] = brand_id
    return index


def brands() -> Mapping[str, Brand]:
    """All protected brands by id."""
    return _index().brands


def is_token(name: str) -> bool:
    """Whether a name is just what a brand is called."""
    return name in _index().strong or name in _index().weak


def official_brand(host: str, name: str, suffix: str) -> str:
    """Id of the brand whose own the host is, or "".

    host: lower case, IDN labels as xn--; name, suffix: its registrable domain is `name.suffix`. A brand marked
    `countries` owns its name under every country suffix (amazon.de, dhl.co.uk).
    """
    index = _index()
    for parent in _parents(host):
        if parent in index.official:
            return index.official[parent]
    is_country = len(suffix.rpartition(".")[2]) == 2 and suffix not in _OPEN_COUNTRY_SUFFIXES
    return index.country_names.get(name, "") if is_country else ""


def imitated_brand(labels: Sequence[str], suffix: str) -> str:
    """Id of the brand that a host imitates, or "". The caller has made sure that the host is nobody's own.

    labels: the host's labels without its public suffix, lower case, IDN decoded; the last is the registered name.
    """
    index = _index()
    if not labels or labels[-1] in index.genuine or f"{labels[-1]}.{suffix}" in index.genuine:
        return ""
    parts = [part for label in labels for part in label.split("-") if part]
    return (
        _official_inside(labels, parts, suffix, index)
        or _token_in(parts, index)
        or _respelled(labels[-1].replace("-", ""), index)
        or _chinese_name(labels, suffix, index)
    )


def skeleton(label: str) -> str:
    """A label as a hurried reader sees it: accents off, look-alike characters as one, rn as m, vv as w.

    A number stays as it is: nobody takes 12308 for 12306.
    """
    if label.isdigit():
        return label
    if not label.isascii():
        label = "".join(c for c in unicodedata.normalize("NFKD", label) if not unicodedata.combining(c))
    return label.lower().translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")


def _parents(host: str) -> Iterator[str]:
    while host:
        yield host
        host = host.partition(".")[2]


def _official_inside(labels: Sequence[str], parts: Sequence[str], suffix: str, index: _Index) -> str:
    """A brand's whole domain as labels (its name of two letters or more), or between hyphens (of four or more)."""
    for pieces, shortest in (([*labels, *suffix.split(".")], 2), (parts, 4)):
        for start in range(len(pieces) - 1):
            for end in (start + 3, start + 2):
                brand = index.official.get(".".join(pieces[start:end]))
                if brand and len(pieces[start]) >= shortest:
                    return brand
    return ""


def _token_in(parts: Sequence[str], index: _Index) -> str:
    for position, part in enumerate(parts):
        look = skeleton(part)
        brand = index.strong.get(part) or index.strong_skeletons.get(look) or _joined(part, index)
        if brand:
            return brand
        others = [*parts[:position], *parts[position + 1 :]]
        if part in index.weak and any(o in index.lures and o not in _FAINT_LURES for o in others):
            return index.weak[part]
        if look in index.weak_skeletons and part not in index.weak:
            return index.weak_skeletons[look]
    return ""


def _joined(part: str, index: _Index) -> str:
    """A token joined to lures or digits: uspstrack, paypal2024, verifyicbc, 51taobao."""
    for cut in range(1, len(part)):
        head, tail = part[:cut], part[cut:]
        if head in index.strong and (tail.isdigit() or _are_lures(tail, index.lures)):
            return index.strong[head]
        if tail in index.strong and (head.isdigit() or _are_lures(head, index.lures)):
            return index.strong[tail]
        if head in index.weak and tail not in _FAINT_LURES and _are_lures(tail, index.lures):
            return index.weak[head]
    return ""


def _are_lures(text: str, lures: frozenset[str]) -> bool:
    """One lure, or two in a row."""
    return text in lures or any(text[:cut] in lures and text[cut:] in lures for cut in range(2, len(text) - 1))


def _respelled(name: str, index: _Index) -> str:
    """The registered name, hyphens left out: a token, a look-alike of one, or one edit from a long one."""
    look = skeleton(name)
    if name in index.strong or look in index.strong_skeletons:
        return index.strong.get(name) or index.strong_skeletons[look]
    if len(name) < _NEAR_MIN_LENGTH - 1 or name in index.weak:
        return ""
    for form in (name, *_one_left_out(name)):
        for token in index.near.get(form, ()):
            if _is_one_edit(name, token):
                return index.strong[token]
    return ""


def _one_left_out(text: str) -> Iterator[str]:
    return (text[:i] + text[i + 1 :] for i in range(len(text)))


def _is_one_edit(a: str, b: str) -> bool:
    """One insertion, deletion, substitution or exchange of neighbours apart, and not equal."""
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    exchanged = a[:2] == b[1::-1] and a[2:] == b[2:]
    return a != b and (a[1:] == b[1:] or a[1:] == b or a == b[1:] or exchanged)


def _chinese_name(labels: Sequence[str], suffix: str, index: _Index) -> str:
    for label in labels:
        if label.isascii():
            continue
        for name, brand in index.chinese.items():
            is_own_name = label in (name, f"中国{name}")
            if is_own_name and suffix not in _CHECKED_IDN_SUFFIXES:
                return brand
            if len(name) >= 3 and name in label and not is_own_name:
                return brand
    return ""
