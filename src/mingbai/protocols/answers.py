"""The answers to what providers and gateways send each other: taken or refused, and under which id, in every protocol.

Ids have one text form for each protocol, the same in the answer to a SUBMIT and in its reports (`reports`): CMPP's
eight octets as a decimal number, SGIP's sequence as thirty digits, SMGP's ten octets as twenty hexadecimal digits,
SMPP's as it came (`receipts.IdMatcher` knows how peers vary it).

What a peer should send again later has the code that it slows down for. Which of the protocols' few words stands for
which reason is one table here; an operator may say another for a partner.

Rules: the result tables of CMPP 2.0 and 3.0, SGIP 1.2 and SMGP 3.0; SMPP 3.4 5.1.3.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.pdu import Pdu


# --------------------------------------------------------------------------------------------------------- text of ids
def cmpp_id(said: str) -> int:
    """The eight octets that the decimal number says. Raises BadValue."""
    if not (said.isascii() and said.isdigit() and len(said) <= 20):
        raise BadValue(field="message_id", value=said, expected="a decimal number of eight octets")
    return int(said)


def sgip_id(said: str) -> sgip.MessageName:
    """The sequence that thirty digits say. Raises BadValue."""
    if not (said.isascii() and said.isdigit() and len(said) == 30):
        raise BadValue(field="message_id", value=said, expected="30 digits: node, time and counter")
    return int(said[:10]), int(said[10:20]), int(said[20:])


def smgp_id(said: str) -> bytes:
    """The ten octets that twenty hexadecimal digits say. Raises BadValue."""
    try:
        found = bytes.fromhex(said)
    except ValueError:
        found = b""
    if len(found) != 10 or len(said) != 20:
        raise BadValue(field="message_id", value=said, expected="20 hexadecimal digits")
    return found


# --------------------------------------------------------------------------------------------------- answers to SUBMIT
def id_of_answer(answer: Pdu, request: Pdu | None = None) -> str:
    """The message's id, as its reports will say it; empty where the answer has none (a refusal, a careless peer).

    SGIP has no ids: the sequence of the request is it, which the answer repeats.
    """
    try:
        return _IDS[type(answer)](answer, request)
    except KeyError:
        raise _no_answer(answer) from None


def _id_cmpp(answer: cmpp.SubmitResp, request: Pdu | None) -> str:
    return str(answer.msg_id or "")


def _id_sgip(answer: sgip.SubmitResp, request: sgip.SgipPdu | None) -> str:
    return "" if answer.result else sgip.name_text((request or answer).sequence)


def _id_smgp(answer: smgp.SubmitResp, request: Pdu | None) -> str:
    return answer.msg_id.hex() if any(answer.msg_id) else ""


def _id_smpp(answer: smpp.SubmitSmResp | smpp.SubmitMultiResp | smpp.DataSmResp, request: Pdu | None) -> str:
    return answer.message_id.decode("latin-1") if answer.message_id else ""


_IDS: Final[dict[type[Pdu], Callable[[Any, Any], str]]] = {  # Any: the PDU's class
    cmpp.SubmitResp2: _id_cmpp,
    cmpp.SubmitResp3: _id_cmpp,
    sgip.SubmitResp: _id_sgip,
    smgp.SubmitResp: _id_smgp,
    smpp.SubmitSmResp: _id_smpp,
    smpp.SubmitMultiResp: _id_smpp,
    smpp.DataSmResp: _id_smpp,
    smpp.DeliverSmResp: lambda answer, request: "",
    smpp.GenericNack: lambda answer, request: "",
}


def answer_submit(request: Pdu, message_id: str) -> Pdu:
    """The message is taken, under this id (text form of the request's protocol; SGIP has no place for it).

    Raises BadValue for an id of another form, and for a PDU that is no message from a provider.
    """
    try:
        return _TAKEN[type(request)](request, message_id)
    except KeyError:
        raise _no_submit(request) from None


def _taken_cmpp2(request: cmpp.Submit2, said: str) -> Pdu:
    return cmpp.SubmitResp2(sequence=request.sequence, msg_id=cmpp_id(said), result=0)


def _taken_cmpp3(request: cmpp.Submit3, said: str) -> Pdu:
    return cmpp.SubmitResp3(sequence=request.sequence, msg_id=cmpp_id(said), result=0)


def _taken_sgip(request: sgip.Submit, said: str) -> Pdu:
    return sgip.SubmitResp(sequence=request.sequence, result=0, reserve=b"")


def _taken_smgp(request: smgp.Submit | smgp.Submit13, said: str) -> Pdu:
    return smgp.SubmitResp(sequence=request.sequence, msg_id=smgp_id(said), status=0)


def _taken_smpp(request: smpp.SubmitSm | smpp.DataSm | smpp.SubmitMulti, said: str) -> Pdu:
    return smpp.answer(request, message_id=said.encode("latin-1", "replace"))


def _taken_submit_sm(request: smpp.SubmitSm, said: str) -> Pdu:
    return smpp.SubmitSmResp(sequence=request.sequence, message_id=said.encode("latin-1", "replace"))


_TAKEN: Final[dict[type[Pdu], Callable[[Any, str], Pdu]]] = {  # Any: as above
    cmpp.Submit2: _taken_cmpp2,
    cmpp.Submit3: _taken_cmpp3,
    sgip.Submit: _taken_sgip,
    smgp.Submit: _taken_smgp,
    smgp.Submit13: _taken_smgp,
    smpp.SubmitSm: _taken_submit_sm,
    smpp.SubmitMulti: _taken_smpp,
    smpp.DataSm: _taken_smpp,
    smpp.DeliverSm: lambda request, said: smpp.DeliverSmResp(sequence=request.sequence),  # no id: 4.6.2
}


class Refusal(Enum):
    """Why a message is not taken."""

    THROTTLED = "throttled"
    BLOCKED = "blocked"
    TRY_LATER = "try_later"
    BAD_SOURCE = "bad_source"
    BAD_DESTINATION = "bad_destination"
    BAD_TIME = "bad_time"
    BAD_CONTENT = "bad_content"
    NO_ROUTE = "no_route"
    NOT_ALLOWED = "not_allowed"
    QUEUE_FULL = "queue_full"
    BAD_SERVICE = "bad_service"
    SYSTEM = "system"


_C, _G, _T, _P = cmpp.Result, sgip.Result, smgp.Status, smpp.Status
# CMPP, SGIP, SMGP, SMPP. What may be taken later has the code that peers slow down for: a fault of ours must not lose a
# message. The Chinese protocols have no word for "blocked"; CMPP 2.0 reads every number above 8 as "other".
_REFUSALS: Final = {
    Refusal.THROTTLED: (_C.FLOW_CONTROL, _G.NODE_BUSY, _T.BUSY, _P.ESME_RTHROTTLED),
    Refusal.BLOCKED: (_C.NOT_SERVED, _G.NOT_PROVIDED, _T.ROUTE, _P.ESME_RX_R_APPN),
    Refusal.TRY_LATER: (_C.FLOW_CONTROL, _G.NODE_BUSY, _T.BUSY, _P.ESME_RX_T_APPN),
    Refusal.BAD_SOURCE: (_C.SRC_ID, _G.PARAMETER_FORMAT, _T.SRC_TERM_ID, _P.ESME_RINVSRCADR),
    Refusal.BAD_DESTINATION: (_C.DEST_TERMINAL_ID, _G.PHONE_NUMBER, _T.DEST_TERM_ID, _P.ESME_RINVDSTADR),
    Refusal.BAD_TIME: (_C.STRUCTURE, _G.PARAMETER_FORMAT, _T.TIME_FORMAT, _P.ESME_RINVSCHED),
    Refusal.BAD_CONTENT: (_C.STRUCTURE, _G.PARAMETER_FORMAT, _T.MSG_FORMAT, _P.ESME_RX_P_APPN),
    Refusal.NO_ROUTE: (_C.NOT_SERVED, _G.NO_ROUTE, _T.NO_ROUTE, _P.ESME_RSUBMITFAIL),
    Refusal.NOT_ALLOWED: (_C.MSG_SRC, _G.NOT_PROVIDED, _T.SP_CODE, _P.ESME_RSUBMITFAIL),
    Refusal.QUEUE_FULL: (_C.FLOW_CONTROL, _G.NODE_BUSY, _T.BUSY, _P.ESME_RMSGQFUL),
    Refusal.BAD_SERVICE: (_C.SERVICE_ID, _G.PARAMETER_FORMAT, _T.SERVICE_ID, _P.ESME_RINVSERTYP),
    Refusal.SYSTEM: (_C.FLOW_CONTROL, _G.SYSTEM_FAILURE, _T.BUSY, _P.ESME_RSYSERR),
}
# The codes after which the same message may be taken.
_CMPP_LATER, _SMGP_LATER = frozenset((8,)), frozenset((1,))
_SGIP_LATER, _SMPP_LATER = frozenset((11, 32, 33)), frozenset(map(int, smpp.RETRYABLE))
_CODES: Final = {reason: tuple(map(int, codes)) for reason, codes in _REFUSALS.items()}  # IntEnums are slow to compare


def refuse_submit(request: Pdu, why: Refusal, *, code: int | None = None) -> Pdu:
    """The message is not taken: the protocol's own code for the reason, or the operator's (`code`) where it has room.

    Raises BadValue for a PDU that is no message from a provider.
    """
    try:
        kind, column, field = _REFUSED[type(request)]
    except KeyError:
        raise _no_submit(request) from None
    made: Pdu = kind(sequence=request.sequence)
    if code is not None and code > 0xFF and kind in (cmpp.SubmitResp2, sgip.SubmitResp):
        code = None  # CMPP 2.0 and SGIP say it in one octet
    setattr(made, field, _CODES[why][column] if code is None else code)
    return made


_REFUSED: Final[dict[type[Pdu], tuple[Callable[..., Pdu], int, str]]] = {
    cmpp.Submit2: (cmpp.SubmitResp2, 0, "result"),
    cmpp.Submit3: (cmpp.SubmitResp3, 0, "result"),
    sgip.Submit: (sgip.SubmitResp, 1, "result"),
    smgp.Submit: (smgp.SubmitResp, 2, "status"),
    smgp.Submit13: (smgp.SubmitResp, 2, "status"),
    smpp.SubmitSm: (smpp.SubmitSmResp, 3, "status"),
    smpp.SubmitMulti: (smpp.SubmitMultiResp, 3, "status"),
    smpp.DataSm: (smpp.DataSmResp, 3, "status"),
    smpp.DeliverSm: (smpp.DeliverSmResp, 3, "status"),
}


# -------------------------------------------------------------------------------------------------- answers to DELIVER
def answer_deliver(request: Pdu, *, is_ok: bool = True) -> Pdu:
    """The answer to a DELIVER, REPORT, deliver_sm or data_sm. is_ok: else the peer shall send it again later.

    Raises BadValue for another PDU.
    """
    try:
        return _DELIVERED[type(request)](request, is_ok)
    except KeyError:
        expected = "a report or a message from a handset"
        raise BadValue(field="pdu", value=type(request).__name__, expected=expected) from None


def _delivered_cmpp2(request: cmpp.Deliver2, is_ok: bool) -> Pdu:
    return cmpp.DeliverResp2(sequence=request.sequence, msg_id=request.msg_id, result=0 if is_ok else 8)


def _delivered_cmpp3(request: cmpp.Deliver3, is_ok: bool) -> Pdu:
    return cmpp.DeliverResp3(sequence=request.sequence, msg_id=request.msg_id, result=0 if is_ok else 8)


def _delivered_sgip(request: sgip.Deliver, is_ok: bool) -> Pdu:
    return sgip.DeliverResp(sequence=request.sequence, result=0 if is_ok else 11, reserve=b"")


def _delivered_sgip_report(request: sgip.Report, is_ok: bool) -> Pdu:
    return sgip.ReportResp(sequence=request.sequence, result=0 if is_ok else 11, reserve=b"")


def _delivered_smgp(request: smgp.Deliver, is_ok: bool) -> Pdu:
    return smgp.DeliverResp(sequence=request.sequence, msg_id=request.msg_id, status=0 if is_ok else 1)


def _delivered_smpp(request: smpp.DeliverSm | smpp.DataSm, is_ok: bool) -> Pdu:
    return smpp.answer(request, smpp.Status.ESME_ROK if is_ok else smpp.Status.ESME_RX_T_APPN)


_DELIVERED: Final[dict[type[Pdu], Callable[[Any, bool], Pdu]]] = {  # Any: as above
    cmpp.Deliver2: _delivered_cmpp2,
    cmpp.Deliver3: _delivered_cmpp3,
    sgip.Deliver: _delivered_sgip,
    sgip.Report: _delivered_sgip_report,
    smgp.Deliver: _delivered_smgp,
    smpp.DeliverSm: _delivered_smpp,
    smpp.DataSm: _delivered_smpp,
}


def refusal_of(answer: Pdu) -> tuple[str, bool] | None:
    """None if the answer accepts; else its code (`cmpp result 8`) and whether the same message may be taken later.

    Of answers to a SUBMIT and to a DELIVER alike; a generic_nack never accepts. Raises BadValue for another PDU.
    """
    try:
        name, field, later = _ANSWERS[type(answer)]
    except KeyError:
        raise _no_answer(answer) from None
    code: int = getattr(answer, field)
    if code == 0 and type(answer) is not smpp.GenericNack:
        return None
    said = f"{name} {code:#04x}" if name == "smpp status" else f"{name} {code}"
    return said, code in later


_ANSWERS: Final[dict[type[Pdu], tuple[str, str, frozenset[int]]]] = {
    **dict.fromkeys((cmpp.SubmitResp2, cmpp.SubmitResp3), ("cmpp result", "result", _CMPP_LATER)),
    **dict.fromkeys((cmpp.DeliverResp2, cmpp.DeliverResp3), ("cmpp result", "result", _CMPP_LATER)),
    **dict.fromkeys((sgip.SubmitResp, sgip.DeliverResp, sgip.ReportResp), ("sgip result", "result", _SGIP_LATER)),
    **dict.fromkeys((smgp.SubmitResp, smgp.DeliverResp), ("smgp status", "status", _SMGP_LATER)),
    **dict.fromkeys(
        (smpp.SubmitSmResp, smpp.SubmitMultiResp, smpp.DataSmResp, smpp.DeliverSmResp, smpp.GenericNack),
        ("smpp status", "status", _SMPP_LATER),
    ),
}


def _no_submit(pdu: Pdu) -> BadValue:
    return BadValue(field="pdu", value=type(pdu).__name__, expected="a message from a service provider")


def _no_answer(pdu: Pdu) -> BadValue:
    return BadValue(field="pdu", value=type(pdu).__name__, expected="an answer to a message")
