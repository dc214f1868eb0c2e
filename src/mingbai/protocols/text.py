"""Characters of a short message: which coding an octet names, and text from octets and back.

Four protocols say with one octet how the content is written, and none of them agrees with its peers all the time. So
`coding_of` gives what the octet means under a protocol (and under what the operator has set for the peer), `decode`
reads any octets whatever without raising and says what it had to assume, and `encode` refuses what does not fit.

It never guesses in silence: `Text.flags` is empty exactly when every octet was read by the coding that was named. A
firewall must judge what the handset will show, and must not be blinded by a wrong octet, so a content that cannot be
ASCII is read as what it plainly is (GB18030 under msg_fmt 0 is daily traffic of Chinese gateways), with a flag.

Rules: GSM 03.38 / 3GPP TS 23.038 (alphabet 6.2.1, packing 6.1.2, data coding scheme 4), SMPP 3.4 5.2.19, and the
msg_fmt tables of CMPP, SGIP and SMGP. UCS-2 is read as UTF-16BE so that emoji pass. National shift tables (3GPP TS
23.038 A) are not read: no operator whose traffic we have seen sends them.
"""

from __future__ import annotations

import codecs
import enum
from dataclasses import dataclass
from functools import cache

from mingbai.kernel.errors import BadValue


class Encoding(enum.Enum):
    """How characters lie in octets."""

    ASCII = "ASCII"
    GSM7 = "GSM 7-bit"  # unpacked: one septet an octet, as SMPP carries it
    GSM7_PACKED = "GSM 7-bit packed"  # eight septets in seven octets, as on the air
    LATIN1 = "ISO 8859-1"
    CYRILLIC = "ISO 8859-5"
    HEBREW = "ISO 8859-8"
    JIS = "Shift JIS"
    KOREAN = "EUC-KR"
    UCS2 = "UCS-2"  # big-endian, surrogate pairs allowed
    GB18030 = "GB18030"  # with GBK and GB 2312 in it
    UTF8 = "UTF-8"  # no protocol names it; met under msg_fmt 0 all the same
    BINARY = "8-bit data"


_CODECS = {
    Encoding.ASCII: "ascii",
    Encoding.LATIN1: "latin-1",
    Encoding.CYRILLIC: "iso8859-5",
    Encoding.HEBREW: "iso8859-8",
    Encoding.JIS: "shift_jis",
    Encoding.KOREAN: "euc_kr",
    Encoding.UCS2: "utf-16-be",
    Encoding.GB18030: "gb18030",
    Encoding.UTF8: "utf-8",
}


class Flag(enum.IntFlag):
    """What `decode` had to assume, leave out or give up."""

    ODD = 1  # UCS-2 of odd length: the last octet was left out
    OTHER_CODING = 2  # not written in the coding that was named; `Text.encoding` says how it was read
    REPLACED = 4  # octets that are no character: U+FFFD stands for them
    CUT = 8  # the content ends inside a character
    ESCAPE = 16  # a GSM extension that does not exist: the character of the basic alphabet stands for it
    UNKNOWN_CODING = 32  # a reserved octet: read in the default alphabet, as 3GPP TS 23.038 4 asks of receivers
    BINARY = 64  # data, not text
    COMPRESSED = 128  # 3GPP TS 23.042, which nobody sends and we do not read


_NOTHING = Flag(0)  # made once: each call of an IntFlag costs more than decoding a message


@dataclass(frozen=True, slots=True)
class Coding:
    """What one octet says. `octet` is as received, to be sent on unchanged."""

    encoding: Encoding
    octet: int
    message_class: int | None = None  # 0 flash, 1 handset, 2 SIM, 3 terminal equipment
    is_compressed: bool = False
    is_known: bool = True

    @property
    def is_flash(self) -> bool:
        """Shown at once and not stored: class 0."""
        return self.message_class == 0


@dataclass(slots=True)  # not frozen: that would double its price
class Text:
    """`text` never holds a lone surrogate; it is empty for binary data."""

    text: str
    encoding: Encoding
    flags: Flag = _NOTHING

    @property
    def is_exact(self) -> bool:
        """Every octet was read, by the coding that was named."""
        return not self.flags


# --------------------------------------------------------------------------------------------- what the octet says
_MSG_FMT = {0: None, 3: Encoding.BINARY, 4: Encoding.BINARY, 8: Encoding.UCS2, 15: Encoding.GB18030}
_DATA_CODING = {
    0: None,
    1: Encoding.ASCII,
    2: Encoding.BINARY,
    3: Encoding.LATIN1,
    4: Encoding.BINARY,
    5: Encoding.JIS,
    6: Encoding.CYRILLIC,
    7: Encoding.HEBREW,
    8: Encoding.UCS2,
    14: Encoding.KOREAN,
    15: Encoding.GB18030,  # reserved in the standard; Chinese peers write GBK under it
}
DEFAULT_ALPHABETS = (Encoding.ASCII, Encoding.GSM7, Encoding.GSM7_PACKED, Encoding.LATIN1, Encoding.GB18030)
_DEFAULT_OF = {"cmpp": Encoding.ASCII, "sgip": Encoding.ASCII, "smgp": Encoding.ASCII, "smpp": Encoding.GSM7}


def coding_of(protocol: str, octet: int, default: Encoding | None = None) -> Coding:
    """What msg_fmt (CMPP, SGIP's coding, SMGP's msg_format) or SMPP's data_coding means.

    protocol: `cmpp`, `sgip`, `smgp` or `smpp`. default: one of DEFAULT_ALPHABETS, what this peer means by 0 and by the
    default alphabet of a data coding scheme; without it ASCII, in SMPP GSM 7-bit unpacked. Octets that the protocol
    does not name are read as a data coding scheme of GSM 03.38 (17, 24, 25 are met daily). Raises BadValue.
    """
    if protocol not in _DEFAULT_OF:
        raise BadValue(field="protocol", value=protocol, expected="cmpp, sgip, smgp or smpp")
    if default is None:
        default = _DEFAULT_OF[protocol]
    elif default not in DEFAULT_ALPHABETS:
        raise BadValue(field="default alphabet", value=default.value, expected=_names(DEFAULT_ALPHABETS))
    if not 0 <= octet <= 255:
        raise BadValue(field="data_coding" if protocol == "smpp" else "msg_fmt", value=octet, expected="0 to 255")
    return _coding_of(protocol == "smpp", octet, default)


@cache  # 256 octets, two families, five alphabets: 2,560 entries at most
def _coding_of(is_smpp: bool, octet: int, default: Encoding) -> Coding:
    named = _DATA_CODING if is_smpp else _MSG_FMT
    if octet in named:
        return Coding(named[octet] or default, octet)
    if is_smpp and octet < 16:  # 9 pictograms, 10 ISO-2022-JP, 13 extended Kanji, 11 and 12 reserved: we read none
        return Coding(default, octet, is_known=False)
    return _data_coding_scheme(octet, default)


def _data_coding_scheme(octet: int, default: Encoding) -> Coding:
    """3GPP TS 23.038 4: the groups by their upper four bits."""
    group, message_class = octet >> 4, octet & 3
    if group < 8:  # general, and (4 to 7) marked for deletion after it was read
        alphabet = (default, Encoding.BINARY, Encoding.UCS2, None)[octet >> 2 & 3]
        return Coding(
            alphabet or default,
            octet,
            message_class if octet & 0x10 else None,
            is_compressed=bool(octet & 0x20),
            is_known=alphabet is not None,
        )
    if group < 12:
        return Coding(default, octet, is_known=False)
    if group < 15:  # message waiting: discard, store, store in UCS-2
        return Coding(Encoding.UCS2 if group == 14 else default, octet)
    return Coding(Encoding.BINARY if octet & 4 else default, octet, message_class, is_known=not octet & 8)


def best_coding(text: str, protocol: str, default: Encoding | None = None) -> Coding:
    """The default alphabet (octet 0) if the whole text fits into it, UCS-2 (octet 8) otherwise.

    Every handset reads these two; GB18030 and Latin-1 are for the peers that ask for them.
    """
    plain = coding_of(protocol, 0, default)
    return plain if _first_misfit(text, plain.encoding) is None else coding_of(protocol, 8, default)


# ------------------------------------------------------------------------------------------------- GSM 7-bit alphabet
_GSM7 = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\ufffeÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_ESCAPE = 0x1B
_EXTENSION = {0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|"}
_EXTENSION[0x65] = "€"
_GSM7_ENCODER = codecs.charmap_build(_GSM7)
_EXTENDED = {character: bytes((_ESCAPE, octet)) for octet, character in _EXTENSION.items()}


def _decode_gsm7(septets: bytes) -> tuple[str, Flag]:
    """Septets, one an octet, all below 128."""
    head, *escaped = septets.split(b"\x1b")
    text, flags = [codecs.charmap_decode(head, "strict", _GSM7)[0]], _NOTHING
    pending = iter(escaped)
    for piece in pending:
        if not piece:  # an escape before an escape is for a table yet to come: a blank (6.2.1.1), then goes on as text
            following = next(pending, None)
            flags |= Flag.ESCAPE if following is not None else Flag.CUT
            text.append(" " + codecs.charmap_decode(following, "strict", _GSM7)[0] if following is not None else "")
            continue
        character = _EXTENSION.get(piece[0])
        if character is None:
            flags |= Flag.ESCAPE
            character = _GSM7[piece[0]]
        text.append(character + codecs.charmap_decode(piece[1:], "strict", _GSM7)[0])
    return "".join(text), flags


def _encode_gsm7(text: str) -> bytes:
    """Raises UnicodeEncodeError at the first character that is in neither table."""
    try:
        return bytes(codecs.charmap_encode(text, "strict", _GSM7_ENCODER)[0])
    except UnicodeEncodeError as misfit:
        if misfit.object[misfit.start] not in _EXTENDED:
            raise
    septets = bytearray()
    for place, character in enumerate(text):
        try:
            septets += _EXTENDED.get(character) or codecs.charmap_encode(character, "strict", _GSM7_ENCODER)[0]
        except UnicodeEncodeError:
            raise UnicodeEncodeError("gsm7", text, place, place + 1, "not in the alphabet") from None
    return bytes(septets)


def pack_septets(septets: bytes, fill_bits: int = 0) -> bytes:
    """Eight septets into seven octets, lowest bits first (3GPP TS 23.038 6.1.2). Bits over seven are dropped.

    fill_bits: bits left free before the first septet, so that it begins on a septet boundary behind a user data header.
    """
    octets, window, bits = bytearray(), 0, fill_bits
    for septet in septets:
        window |= (septet & 0x7F) << bits
        bits += 7
        while bits >= 8:
            octets.append(window & 0xFF)
            window >>= 8
            bits -= 8
    if bits and septets:
        octets.append(window)
    return bytes(octets)


def unpack_septets(octets: bytes, fill_bits: int = 0, count: int | None = None) -> bytes:
    """The inverse. count: septets to give; without it, all that lie whole in the octets."""
    septets, window, bits = bytearray(), 0, -fill_bits
    for octet in octets:
        window |= octet << (bits + fill_bits)
        bits += 8
        while bits >= 7:
            septets.append(window >> fill_bits & 0x7F)
            window = window >> fill_bits + 7 << fill_bits
            bits -= 7
    return bytes(septets if count is None else septets[:count])


# -------------------------------------------------------------------------------------------------------------- decode
def decode(content: bytes, coding: Coding, fill_bits: int = 0) -> Text:
    """Read any octets; never raises. What was assumed or lost stands in the flags.

    content: without its user data header. fill_bits: for packed septets behind such a header.
    """
    encoding = coding.encoding
    if coding.is_compressed:
        return Text("", encoding, Flag.COMPRESSED)
    flags = _NOTHING if coding.is_known else Flag.UNKNOWN_CODING
    if encoding is Encoding.UCS2:
        return _decode_ucs2(content, flags)
    if encoding is Encoding.BINARY:
        return Text("", encoding, flags | Flag.BINARY)
    if encoding is Encoding.GSM7_PACKED:
        text, more = _decode_gsm7(_without_padding(unpack_septets(content, fill_bits), len(content), fill_bits))
        return Text(text, encoding, flags | more)
    if encoding is Encoding.GSM7:
        if content.isascii():
            text, more = _decode_gsm7(content)
            return Text(text, encoding, flags | more)
        return _decode_other(content, encoding, flags)
    try:
        return Text(content.decode(_CODECS[encoding]), encoding, flags)
    except UnicodeDecodeError:
        if encoding in (Encoding.ASCII, Encoding.GB18030):
            return _decode_other(content, encoding, flags)
        return Text(content.decode(_CODECS[encoding], "replace"), encoding, flags | Flag.REPLACED)


def _decode_ucs2(content: bytes, flags: Flag) -> Text:
    if len(content) % 2:
        content, flags = content[:-1], flags | Flag.ODD
    codec = "utf-16-be"
    if content.startswith(b"\xff\xfe"):  # a byte order mark that says little-endian; U+FFFE is no character
        content, codec, flags = content[2:], "utf-16-le", flags | Flag.OTHER_CODING
    try:
        return Text(content.decode(codec), Encoding.UCS2, flags)
    except UnicodeDecodeError:
        return Text(content.decode(codec, "replace"), Encoding.UCS2, flags | Flag.REPLACED)


def _decode_other(content: bytes, named: Encoding, flags: Flag) -> Text:
    """Octets that the named encoding cannot have: UTF-8 if they are whole Chinese characters of it, else GB18030.

    Short GBK can pass for UTF-8 sequences of two octets, but hardly for those of three that Chinese needs there.
    """
    try:
        text = content.decode("utf-8")
        if max(text, default="") > "\u07ff":
            return Text(text, Encoding.UTF8, flags | Flag.OTHER_CODING)
    except UnicodeDecodeError:
        pass
    if named is not Encoding.GB18030:
        flags |= Flag.OTHER_CODING
    try:
        return Text(content.decode("gb18030"), Encoding.GB18030, flags)
    except UnicodeDecodeError as misfit:
        # A part that ends inside a character is still GB18030: the rest is in the next part, or lost.
        is_cut = misfit.end == len(content) and "incomplete" in misfit.reason
        flags |= Flag.CUT if is_cut else Flag.REPLACED
        return Text(content.decode("gb18030", "replace"), Encoding.GB18030, flags)


def _without_padding(septets: bytes, octets: int, fill_bits: int) -> bytes:
    """Without the carriage return that fills seven spare bits, lest they read as `@` (3GPP TS 23.038 6.1.2.3.1)."""
    is_full = 8 * octets == fill_bits + 7 * len(septets)
    return septets[:-1] if is_full and septets.endswith(b"\r") else septets


# -------------------------------------------------------------------------------------------------------------- encode
def encode(text: str, coding: Coding, fill_bits: int = 0) -> bytes:
    """The octets of the text. Raises BadValue naming the first character that does not fit, or data that is no text."""
    encoding = coding.encoding
    if coding.is_compressed or encoding is Encoding.BINARY:
        raise BadValue(field="coding", value=coding.octet, expected="a coding of text, not of data")
    try:
        return octets_of(text, encoding, fill_bits)
    except UnicodeEncodeError as misfit:
        raise _misfit(text[misfit.start], misfit.start, encoding) from None


def octets_of(text: str, encoding: Encoding, fill_bits: int = 0) -> bytes:
    """As `encode`, but raises UnicodeEncodeError. For callers that cut a text up themselves."""
    if encoding is Encoding.GSM7:
        return _encode_gsm7(text)
    if encoding is Encoding.GSM7_PACKED:
        septets = _encode_gsm7(text)
        spare = -(fill_bits + 7 * len(septets)) % 8
        if spare == 7 or (spare == 0 and septets.endswith(b"\r")):  # 3GPP TS 23.038 6.1.2.3.1
            septets += b"\r"
        return pack_septets(septets, fill_bits)
    return text.encode(_CODECS[encoding])


def _first_misfit(text: str, encoding: Encoding) -> int | None:
    try:
        octets_of(text, encoding)
    except UnicodeEncodeError as misfit:
        return misfit.start
    return None


def _misfit(character: str, place: int, encoding: Encoding) -> BadValue:
    named = f"U+{ord(character):04X} {character if character.isprintable() else ''}".rstrip()
    return BadValue(field=f"text, character {place + 1}", value=named, expected=f"a character of {encoding.value}")


def _names(encodings: tuple[Encoding, ...]) -> str:
    return ", ".join(encoding.value for encoding in encodings)
