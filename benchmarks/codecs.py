"""The codecs of the protocols beside a floor written by hand, in one run.

    python -m benchmarks codecs [--messages 20000] [--batch 128] [--rounds 9]

What a gateway does with each message: cut it from the stream, read every field, read its text, make and write the
response. The floor does that with one `struct.Struct` per layout, no class, no check and no error to name: it is what
Python itself costs. Contenders take turns round by round and thread CPU time is compared, so that a neighbour's load
hits all alike; what is printed are medians, and ratios to the floor of the same message. `--batch`: frames per feed.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import time
from collections.abc import Callable

from mingbai.protocols import cmpp, sgip, smgp

TEXT = "【明白银行】您的验证码是 482913，五分钟内有效，请勿告诉他人。".encode("utf-16-be")
NUMBER, SOURCE = b"13800138000", b"106900001234"
Work = Callable[[bytes], bytes]

_LENGTH = struct.Struct(">I")
_CMPP2_HEAD = struct.Struct(">IIIQBBBB10sB21sBBB6s2s6s17s17s21sB")
_CMPP2_RESP = struct.Struct(">IIIQB")
_CMPP2_DELIVER = struct.Struct(">IIIQ21s10sBBB21sBB")
_CMPP2_REPORT = struct.Struct(">Q7s10s10s21sI")
_SGIP_HEAD = struct.Struct(">IIIII21s21sB")
_SGIP_TAIL = struct.Struct(">5s10sB6s6sBBB16s16sBBBBBI")
_SGIP_REPORT = struct.Struct(">IIIIIIIIB21sBB8s")
_SGIP_RESP = struct.Struct(">IIIIIB8s")
_SMGP_HEAD = struct.Struct(">IIIBBB10s2s6s6sB17s17s21s21sB")
_SMGP_RESP = struct.Struct(">III10sI")
_SMGP_DELIVER = struct.Struct(">III10sBB14s21s21sB")
_TLV = struct.Struct(">HH")


def _cut(data: bytes) -> list[bytes]:
    frames, at, size = [], 0, len(data)
    while at < size:
        stop = at + _LENGTH.unpack_from(data, at)[0]
        frames.append(data[at:stop])
        at = stop
    return frames


def _items(frame: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    stop = at + 21 * count
    return [frame[k : k + 21].rstrip(b"\0") for k in range(at, stop, 21)], stop


# ------------------------------------------------------------------------------------------------------------- floors
def floor_cmpp_submit(data: bytes) -> bytes:
    out = []
    for frame in _cut(data):
        _, _, sequence, _, _, _, _, _, service, _, fee, _, _, fmt, src, ftype, fcode, valid, due, src_id, count = (
            _CMPP2_HEAD.unpack_from(frame)
        )
        (service, fee, src, ftype, fcode, valid, due, src_id) = (
            service.rstrip(b"\0"), fee.rstrip(b"\0"), src.rstrip(b"\0"), ftype.rstrip(b"\0"), fcode.rstrip(b"\0"),
            valid.rstrip(b"\0"), due.rstrip(b"\0"), src_id.rstrip(b"\0"),
        )  # fmt: skip
        _, at = _items(frame, _CMPP2_HEAD.size, count)
        stop = at + 1 + frame[at]
        frame[at + 1 : stop].decode("utf-16-be" if fmt == 8 else "gb18030")
        frame[stop : stop + 8].rstrip(b"\0")
        out.append(_CMPP2_RESP.pack(21, 0x80000004, sequence, 1, 0))
    return b"".join(out)


def floor_cmpp_report(data: bytes) -> bytes:
    out = []
    for frame in _cut(data):
        _, _, sequence, msg_id, dest, service, _, _, _, src, _, length = _CMPP2_DELIVER.unpack_from(frame)
        dest.rstrip(b"\0"), service.rstrip(b"\0"), src.rstrip(b"\0")
        stop = _CMPP2_DELIVER.size + length
        content = frame[_CMPP2_DELIVER.size : stop]
        frame[stop : stop + 8].rstrip(b"\0")
        _, stat, submitted, done, number, _ = _CMPP2_REPORT.unpack_from(content)
        stat.rstrip(b"\0"), submitted.rstrip(b"\0"), done.rstrip(b"\0"), number.rstrip(b"\0")
        out.append(_CMPP2_RESP.pack(21, 0x80000005, sequence, msg_id, 0))
    return b"".join(out)


def floor_sgip_submit(data: bytes) -> bytes:
    out = []
    for frame in _cut(data):
        _, _, node, moment, counter, sp, charge, count = _SGIP_HEAD.unpack_from(frame)
        _, at = _items(frame, _SGIP_HEAD.size, count)
        corp, service, _, fee, given, _, _, _, expire, schedule, _, _, _, fmt, _, length = _SGIP_TAIL.unpack_from(
            frame, at
        )
        sp.rstrip(b"\0"), charge.rstrip(b"\0"), corp.rstrip(b"\0"), service.rstrip(b"\0"), fee.rstrip(b"\0")
        given.rstrip(b"\0"), expire.rstrip(b"\0"), schedule.rstrip(b"\0")
        at += _SGIP_TAIL.size
        stop = at + length
        frame[at:stop].decode("utf-16-be" if fmt == 8 else "gb18030")
        frame[stop : stop + 8].rstrip(b"\0")
        out.append(_SGIP_RESP.pack(29, 0x80000003, node, moment, counter, 0, b""))
    return b"".join(out)


def floor_sgip_report(data: bytes) -> bytes:
    out = []
    for frame in _cut(data):
        _, _, node, moment, counter, _, _, _, _, number, _, _, reserve = _SGIP_REPORT.unpack_from(frame)
        number.rstrip(b"\0"), reserve.rstrip(b"\0")
        out.append(_SGIP_RESP.pack(29, 0x80000005, node, moment, counter, 0, b""))
    return b"".join(out)


def floor_smgp_submit(data: bytes) -> bytes:
    out = []
    for frame in _cut(data):
        _, _, sequence, _, _, _, service, ftype, fcode, fixed, fmt, valid, due, src, charge, count = (
            _SMGP_HEAD.unpack_from(frame)
        )
        service.rstrip(b"\0"), ftype.rstrip(b"\0"), fcode.rstrip(b"\0"), fixed.rstrip(b"\0"), valid.rstrip(b"\0")
        due.rstrip(b"\0"), src.rstrip(b"\0"), charge.rstrip(b"\0")
        _, at = _items(frame, _SMGP_HEAD.size, count)
        stop = at + 1 + frame[at]
        frame[at + 1 : stop].decode("utf-16-be" if fmt == 8 else "gb18030")
        frame[stop : stop + 8].rstrip(b"\0")
        at, found = stop + 8, []
        while at < len(frame):
            tag, length = _TLV.unpack_from(frame, at)
            found.append((tag, frame[at + 4 : at + 4 + length]))
            at += 4 + length
        out.append(_SMGP_RESP.pack(26, 0x80000002, sequence, bytes(10), 0))
    return b"".join(out)


def floor_smgp_deliver(data: bytes) -> bytes:
    out = []
    for frame in _cut(data):
        _, _, sequence, msg_id, _, fmt, received, src, dest, length = _SMGP_DELIVER.unpack_from(frame)
        received.rstrip(b"\0"), src.rstrip(b"\0"), dest.rstrip(b"\0")
        stop = _SMGP_DELIVER.size + length
        frame[_SMGP_DELIVER.size : stop].decode("utf-16-be" if fmt == 8 else "gb18030")
        frame[stop : stop + 8].rstrip(b"\0")
        out.append(_SMGP_RESP.pack(26, 0x80000003, sequence, msg_id, 0))
    return b"".join(out)


# ------------------------------------------------------------------------------------------------------------- codecs
def codec_cmpp_submit(version: int) -> Work:
    decode = cmpp.codec_of(version).decode
    frames = cmpp.HEADER.frames()
    submits = (cmpp.Submit2, cmpp.Submit3)  # a union would be made anew for each message

    def work(data: bytes) -> bytes:
        out = []
        for frame in frames.feed(data):
            request = decode(frame)
            assert isinstance(request, submits)
            request.msg_content.decode("utf-16-be" if request.msg_fmt == 8 else "gb18030")
            out.append(cmpp.answer(request, msg_id=1).encode())
        return b"".join(out)

    return work


def codec_cmpp_report() -> Work:
    decode = cmpp.CODEC_2.decode
    frames = cmpp.HEADER.frames()

    def work(data: bytes) -> bytes:
        out = []
        for frame in frames.feed(data):
            request = decode(frame)
            assert isinstance(request, cmpp.Deliver2)
            cmpp.report_of(request.msg_content)
            out.append(cmpp.answer(request, msg_id=request.msg_id).encode())
        return b"".join(out)

    return work


def codec_sgip() -> Work:
    decode = sgip.decode
    frames = sgip.HEADER.frames()

    def work(data: bytes) -> bytes:
        out = []
        for frame in frames.feed(data):
            request = decode(frame)
            if isinstance(request, sgip.Submit):
                request.message_content.decode("utf-16-be" if request.message_coding == 8 else "gb18030")
            out.append(sgip.answer(request).encode())
        return b"".join(out)

    return work


def codec_smgp() -> Work:
    decode = smgp.CODEC.decode
    frames = smgp.HEADER.frames()
    messages = (smgp.Submit, smgp.Deliver)

    def work(data: bytes) -> bytes:
        out = []
        for frame in frames.feed(data):
            request = decode(frame)
            assert isinstance(request, messages)
            request.msg_content.decode("utf-16-be" if request.msg_format == 8 else "gb18030")
            msg_id = request.msg_id if isinstance(request, smgp.Deliver) else bytes(10)
            out.append(smgp.answer(request, msg_id=msg_id).encode())
        return b"".join(out)

    return work


def samples() -> dict[str, tuple[bytes, Work | None, Work]]:
    """Name, one frame with every field filled, the floor (None: the one before it), the codec."""
    fees = {"service_id": b"OTP", "fee_type": b"02", "fee_code": b"000010", "valid_time": b"261125041052032+"}
    shared = {"msg_fmt": 8, "msg_src": b"900001", "src_id": SOURCE, "msg_content": TEXT, **fees}
    two = cmpp.Submit2(dest_terminal_id=(NUMBER,), fee_terminal_id=NUMBER, **shared)  # type: ignore[arg-type]  # a mixed dict
    three = cmpp.Submit3(dest_terminal_id=(NUMBER,), fee_terminal_id=NUMBER, **shared)  # type: ignore[arg-type]  # as above
    report = cmpp.Report2(msg_id=7, stat=b"DELIVRD", submit_time=b"2611250410", done_time=b"2611250411",
                          dest_terminal_id=NUMBER)  # fmt: skip
    back = cmpp.Deliver2(
        msg_id=8, dest_id=SOURCE, src_terminal_id=NUMBER, registered_delivery=1, msg_content=report.encode()
    )
    name = (3010012345, 1125041052, 77)
    sent = sgip.Submit(
        sequence=name, sp_number=SOURCE, charge_number=sgip.SP_PAYS, user_number=(b"86" + NUMBER,), corp_id=b"12345",
        service_type=b"OTP", fee_value=b"0", given_value=b"0", message_coding=8, message_content=TEXT,
    )  # fmt: skip
    told = sgip.Report(sequence=name, submit_sequence=name, user_number=b"86" + NUMBER)
    given = smgp.Submit(
        msg_format=8, src_term_id=SOURCE, charge_term_id=NUMBER, dest_term_id=(NUMBER,), msg_content=TEXT,
        fixed_fee=b"0",
        tlvs=((smgp.Tag.PK_TOTAL, b"\1"), (smgp.Tag.PK_NUMBER, b"\1"), (smgp.Tag.MSG_SRC, b"900001\0\0")),
        **fees,  # type: ignore[arg-type]  # as above
    )  # fmt: skip
    taken = smgp.Deliver(
        msg_id=bytes(range(10)), msg_format=8, recv_time=b"20261125041052", src_term_id=NUMBER, dest_term_id=SOURCE,
        msg_content=TEXT,
    )  # fmt: skip
    return {
        "CMPP 2 SUBMIT": (two.encode(), floor_cmpp_submit, codec_cmpp_submit(cmpp.V2)),
        "CMPP 3 SUBMIT (floor: of CMPP 2)": (three.encode(), None, codec_cmpp_submit(cmpp.V3)),
        "CMPP 2 DELIVER with report": (back.encode(), floor_cmpp_report, codec_cmpp_report()),
        "SGIP SUBMIT": (sent.encode(), floor_sgip_submit, codec_sgip()),
        "SGIP REPORT": (told.encode(), floor_sgip_report, codec_sgip()),
        "SMGP SUBMIT with 3 TLVs": (given.encode(), floor_smgp_submit, codec_smgp()),
        "SMGP DELIVER": (taken.encode(), floor_smgp_deliver, codec_smgp()),
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--messages", type=int, default=20_000)
    arguments.add_argument("--batch", type=int, default=128)
    arguments.add_argument("--rounds", type=int, default=9)
    given = arguments.parse_args()
    feeds = max(1, given.messages // given.batch)
    contenders: dict[tuple[str, str], tuple[Work, bytes]] = {}
    for name, (frame, floor, codec) in samples().items():
        data = frame * given.batch
        if floor is not None:
            assert floor(data) == codec(data), name  # the same answers, or the ratio says nothing
            contenders[name, "floor"] = (floor, data)
        contenders[name, "codec"] = (codec, data)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in contenders}
    for _ in range(given.rounds):
        for key, (work, data) in contenders.items():
            start = time.thread_time()
            for _ in range(feeds):
                work(data)
            times[key].append((time.thread_time() - start) / (feeds * given.batch))
    print(f"{given.batch} frames a feed; microseconds a message, with its response; one thread, CPU time")
    print(f"{'message':34} {'floor':>7} {'codec':>7} {'k/s':>7} {'x floor':>8}")
    least = 0.0
    for name in dict.fromkeys(name for name, _ in contenders):
        least = statistics.median(times[name, "floor"]) if (name, "floor") in times else least
        taken = statistics.median(times[name, "codec"])
        print(f"{name:34} {least * 1e6:7.2f} {taken * 1e6:7.2f} {1e-3 / taken:7.0f} {taken / least:8.2f}")


if __name__ == "__main__":
    main()
