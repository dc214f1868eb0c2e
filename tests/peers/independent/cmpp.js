"use strict";
// CMPP 2.0 and 3.0 (China Mobile). The two share a port and differ in widths only: the version octet of CONNECT tells.

const { Dialect, layout, read, write, unsigned, md5, digits, clockDigits, reportTime } = require("./wire");

function commands(version) {
  const is3 = version === 3;
  const number = is3 ? "s32" : "s21";
  const type = (name) => (is3 ? `${name}:u1` : "");
  const result = is3 ? "u4" : "u1";
  const login = (width) => `status:${width} auth_ismg:b16 version:u1`;
  return {
    CONNECT: [
      1,
      "source_addr:s6 auth_source:b16 version:u1 timestamp:u4",
      // A server that refuses a version may answer in the widths of its own.
      is3 ? `${login("u4")} | ${login("u1")}` : `${login("u1")} | ${login("u4")}`,
    ],
    TERMINATE: [2, "", ""],
    SUBMIT: [
      4,
      `msg_id:b8 pk_total:u1 pk_number:u1 registered_delivery:u1 msg_level:u1 service_id:s10 fee_user_type:u1
       fee_terminal_id:${number} ${type("fee_terminal_type")} tp_pid:u1 tp_udhi:u1 msg_fmt:u1 msg_src:s6 fee_type:s2
       fee_code:s6 valid_time:s17 at_time:s17 src_id:s21 dest_usr_tl:u1 dest_terminal_id:${number}*dest_usr_tl
       ${type("dest_terminal_type")} msg_length:u1 msg_content:b*msg_length ${is3 ? "link_id:s20" : "reserve:s8"}`,
      `msg_id:b8 result:${result}`,
    ],
    DELIVER: [
      5,
      `msg_id:b8 dest_id:s21 service_id:s10 tp_pid:u1 tp_udhi:u1 msg_fmt:u1 src_terminal_id:${number}
       ${type("src_terminal_type")} registered_delivery:u1 msg_length:u1 msg_content:b*msg_length
       ${is3 ? "link_id:s20" : "reserved:s8"}`,
      `msg_id:b8 result:${result}`,
    ],
    QUERY: [
      6,
      "time:s8 type:u1 code:s10 reserve:s8",
      `time:s8 type:u1 code:s10 mt_tlmsg:u4 mt_tlusr:u4 mt_scs:u4 mt_wt:u4 mt_fl:u4 mo_scs:u4 mo_wt:u4 mo_fl:u4`,
    ],
    CANCEL: [7, "msg_id:b8", `success_id:${result}`],
    ACTIVE_TEST: [8, "", "reserved:u1 | "],
  };
}

const SHAPE = { header: "sequence1:u4", cap: 4096, suffix: "_RESP" };
const DIALECTS = { 2: new Dialect("cmpp2", SHAPE, commands(2)), 3: new Dialect("cmpp3", SHAPE, commands(3)) };
const reportLayout = (is3) =>
  layout(`msg_id:b8 stat:s7 submit_time:s10 done_time:s10 dest_terminal_id:${is3 ? "s32" : "s21"} smsc_sequence:u4`);
const REPORTS = { 2: reportLayout(false), 3: reportLayout(true) };

const authSource = (login, secret, timestamp) => md5(login, Buffer.alloc(9), secret, digits(timestamp, 10));
const authIsmg = (status, width, source, secret) => md5(unsigned(status, width), source, secret);

// Bits from the top: month 4, day 5, hour 5, minute 6, second 6, gateway 22, sequence 16.
function messageId(now, gateway, counter) {
  const parts = [
    [now.getMonth() + 1, 4],
    [now.getDate(), 5],
    [now.getHours(), 5],
    [now.getMinutes(), 6],
    [now.getSeconds(), 6],
    [gateway, 22],
    [counter, 16],
  ];
  const id = parts.reduce((sum, [value, bits]) => (sum << BigInt(bits)) | BigInt(value), 0n);
  return id.toString(16).padStart(16, "0");
}

function cmpp(version) {
  const loginVersion = version === 3 ? 0x30 : 0x20;
  return {
    dialect: DIALECTS[version],
    login: "CONNECT",
    heartbeat: "ACTIVE_TEST",
    goodbye: "TERMINATE",
    submit: "SUBMIT",
    delivery: ["DELIVER"],
    takesList: true, // of recipients

    // ------------------------------------------------------------------------------------------------ as the client
    loginRequest({ login, secret, octet, now }) {
      const timestamp = Number(clockDigits(now));
      const auth_source = authSource(login, secret, timestamp);
      return { source_addr: login, auth_source, version: octet ?? loginVersion, timestamp };
    },
    readLoginAnswer(request, { fields }, { secret }, octets) {
      const width = octets.length - 12 - 17; // what is not digest and version
      const digest = authIsmg(fields.status, width, request.auth_source, secret).equals(fields.auth_ismg);
      return { status: fields.status, digest, version: fields.version };
    },
    submitRequests({ login, source, to, coding, wantReport, service }, { content, udh }) {
      return [
        {
          pk_total: udh ? udh.total : 1,
          pk_number: udh ? udh.part : 1,
          registered_delivery: wantReport ? 1 : 0,
          msg_level: 1,
          service_id: service,
          fee_user_type: 2, // the SP pays
          tp_udhi: udh ? 1 : 0,
          msg_fmt: coding,
          msg_src: login,
          fee_type: "01",
          fee_code: "000000",
          src_id: source,
          dest_terminal_id: to,
          msg_content: content,
        },
      ];
    },
    readSubmitAnswer: ({ fields }) => ({ status: fields.result, id: fields.msg_id.toString("hex") }),
    readDelivery({ fields }) {
      if (fields.registered_delivery !== 1) {
        return {
          event: "mo",
          from: fields.src_terminal_id,
          to: fields.dest_id,
          coding: fields.msg_fmt,
          udhi: fields.tp_udhi === 1,
          content: fields.msg_content,
        };
      }
      const report = read(REPORTS[version], fields.msg_content);
      return {
        event: "report",
        id: report.msg_id.toString("hex"),
        stat: report.stat,
        from: report.dest_terminal_id,
        to: fields.dest_id,
        submit_time: report.submit_time,
        done_time: report.done_time,
      };
    },
    deliveryAnswer: ({ fields }) => ({ msg_id: fields.msg_id, result: 0 }),

    // ------------------------------------------------------------------------------------------------ as the server
    // The version octet decides what is spoken, up to the server's own.
    readLogin({ fields }, { login, secret }) {
      const asked = fields.version;
      const known = asked < 0x30 ? 2 : 3;
      const digest = authSource(fields.source_addr, secret, fields.timestamp).equals(fields.auth_source);
      let status = 0;
      if (asked > 0x3f || known > version) status = 4;
      else if (fields.source_addr !== login) status = 2;
      else if (!digest) status = 3;
      return { status, digest, login: fields.source_addr, version: asked, mode: "both", protocol: cmpp(known) };
    },
    loginAnswer({ fields }, status, { secret }) {
      const auth_ismg = authIsmg(status, version === 3 ? 4 : 1, fields.auth_source, secret);
      return { fields: { status, auth_ismg, version: fields.version } };
    },
    readSubmit({ fields }) {
      return {
        from: fields.src_id,
        to: fields.dest_terminal_id,
        coding: fields.msg_fmt,
        udhi: fields.tp_udhi === 1,
        content: fields.msg_content,
        wantReport: fields.registered_delivery === 1,
      };
    },
    newId: (now, counter) => messageId(now, 100001, counter % 65536),
    submitAnswer: (id, status) => ({ fields: { msg_id: id, result: status } }),
    report({ id, from, to, stat, now, counter }) {
      const at = reportTime(now);
      const row = { msg_id: id, stat, submit_time: at, done_time: at, dest_terminal_id: to, smsc_sequence: counter };
      const fields = {
        msg_id: messageId(now, 100002, counter % 65536),
        dest_id: from,
        src_terminal_id: to,
        registered_delivery: 1,
        msg_content: write(REPORTS[version], row),
      };
      return { name: "DELIVER", fields };
    },
    mo({ from, to, coding, content, now, counter }) {
      const fields = {
        msg_id: messageId(now, 100002, counter % 65536),
        dest_id: to,
        msg_fmt: coding,
        src_terminal_id: from,
        msg_content: content,
      };
      return { name: "DELIVER", fields };
    },
    readDeliveryAnswer: ({ fields }) => fields.result,
    // What else a client may ask.
    otherAnswer({ name, fields }, counts) {
      if (name === "QUERY") {
        return { ...fields, mt_tlmsg: counts.messages, mt_tlusr: counts.messages, mt_scs: counts.messages };
      }
      return name === "CANCEL" ? { success_id: 1 } : null; // 1: too late, it has gone
    },
  };
}

module.exports = { cmpp2: cmpp(2), cmpp3: cmpp(3) };
