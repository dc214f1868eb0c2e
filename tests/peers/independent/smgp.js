"use strict";
// SMGP 3.0 (China Telecom).

const { Dialect, unsigned, md5, digits, clockDigits, reportTime } = require("./wire");

const ANSWER = "msg_id:b10 status:u4";
const SMGP = new Dialect(
  "smgp",
  { header: "sequence1:u4", cap: 4096, suffix: "_RESP" },
  {
    LOGIN: [
      1,
      "client_id:s8 auth_client:b16 login_mode:u1 timestamp:u4 client_version:u1",
      "status:u4 auth_server:b16 server_version:u1",
    ],
    SUBMIT: [
      2,
      `msg_type:u1 need_report:u1 priority:u1 service_id:s10 fee_type:s2 fee_code:s6 fixed_fee:s6 msg_format:u1
       valid_time:s17 at_time:s17 src_term_id:s21 charge_term_id:s21 count:u1 dest_term_id:s21*count msg_length:u1
       content:b*msg_length reserve:s8 tlvs:tlvs`,
      ANSWER,
    ],
    DELIVER: [
      3,
      `msg_id:b10 is_report:u1 msg_format:u1 recv_time:s14 src_term_id:s21 dest_term_id:s21 msg_length:u1
       content:b*msg_length reserve:s8 tlvs:tlvs`,
      ANSWER,
    ],
    ACTIVE_TEST: [4, "", " | reserved:u1"],
    EXIT: [6, "", ""],
  },
);

const TP_UDHI = 2;
const PK_TOTAL = 9;
const PK_NUMBER = 10;
const MODES = { send: 0, receive: 1, both: 2 };

const authClient = (login, secret, timestamp) => md5(login, Buffer.alloc(7), secret, digits(timestamp, 10));
const authServer = (status, client, secret) => md5(unsigned(status, 4), client, secret);

// BCD: gateway 6 digits, MMDDhhmm, counter 6 digits.
const messageId = (now, gateway, counter) => gateway + clockDigits(now).slice(0, 8) + digits(counter % 1000000, 6);

const octetTlv = (tag, value) => ({ tag, value: Buffer.from([value]) });
const hasHeader = (tlvs) => tlvs.some(({ tag, value }) => tag === TP_UDHI && value[0] === 1);

// "id:" and ten raw octets, then keys and values as text; 20 octets of text make the usual 122.
function writeReport(id, stat, now) {
  const at = reportTime(now);
  const rest = ` sub:001 dlvrd:001 submit date:${at} done date:${at} stat:${stat.padEnd(7)} err:000 text:`;
  return Buffer.concat([Buffer.from("id:"), Buffer.from(id, "hex"), Buffer.from(rest), Buffer.alloc(20)]);
}

// On the octets and by keys: the id is raw, and real reports spell and order the rest in several ways.
function readReport(content) {
  const at = content.indexOf("id:");
  const rest = content.subarray(at < 0 ? 0 : at + 13).toString("latin1");
  const find = (pattern) => (pattern.exec(rest) ?? ["", ""])[1];
  return {
    id: at < 0 ? "" : content.subarray(at + 3, at + 13).toString("hex"),
    stat: find(/stat:([^\s\0]{1,7})/i),
    error: find(/err:(\w{1,3})/i),
    submit_time: find(/submit[ _]date:(\d+)/i),
    done_time: find(/done[ _]date:(\d+)/i),
  };
}

const smgp = {
  dialect: SMGP,
  login: "LOGIN",
  heartbeat: "ACTIVE_TEST",
  goodbye: "EXIT",
  submit: "SUBMIT",
  delivery: ["DELIVER"],
  takesList: true, // of recipients

  // -------------------------------------------------------------------------------------------------- as the client
  loginRequest({ login, secret, octet, mode, now }) {
    const timestamp = Number(clockDigits(now));
    return {
      client_id: login,
      auth_client: authClient(login, secret, timestamp),
      login_mode: MODES[mode],
      timestamp,
      client_version: octet ?? 0x30,
    };
  },
  readLoginAnswer(request, { fields }, { secret }) {
    const digest = authServer(fields.status, request.auth_client, secret).equals(fields.auth_server);
    return { status: fields.status, digest, version: fields.server_version };
  },
  submitRequests({ source, to, coding, wantReport, service }, { content, udh }) {
    return [
      {
        msg_type: 6, // to a handset
        need_report: wantReport ? 1 : 0,
        priority: 1,
        service_id: service,
        fee_type: "00",
        fee_code: "000000",
        fixed_fee: "000000",
        msg_format: coding,
        src_term_id: source,
        dest_term_id: to,
        content,
        tlvs: udh ? [octetTlv(TP_UDHI, 1), octetTlv(PK_TOTAL, udh.total), octetTlv(PK_NUMBER, udh.part)] : [],
      },
    ];
  },
  readSubmitAnswer: ({ fields }) => ({ status: fields.status, id: fields.msg_id.toString("hex") }),
  readDelivery({ fields }) {
    const ends = { from: fields.src_term_id, to: fields.dest_term_id };
    if (fields.is_report === 1) return { event: "report", ...ends, ...readReport(fields.content) };
    return { event: "mo", ...ends, coding: fields.msg_format, udhi: hasHeader(fields.tlvs), content: fields.content };
  },
  deliveryAnswer: ({ fields }) => ({ msg_id: fields.msg_id, status: 0 }),

  // -------------------------------------------------------------------------------------------------- as the server
  readLogin({ fields }, { login, secret }) {
    const digest = authClient(fields.client_id, secret, fields.timestamp).equals(fields.auth_client);
    const mode = Object.keys(MODES).find((name) => MODES[name] === fields.login_mode) ?? "both";
    const status = fields.client_version > 0x30 ? 22 : digest && fields.client_id === login ? 0 : 21;
    return { status, digest, login: fields.client_id, version: fields.client_version, mode, protocol: smgp };
  },
  loginAnswer: ({ fields }, status, { secret }) => ({
    fields: { status, auth_server: authServer(status, fields.auth_client, secret), server_version: 0x30 },
  }),
  readSubmit({ fields }) {
    return {
      from: fields.src_term_id,
      to: fields.dest_term_id,
      coding: fields.msg_format,
      udhi: hasHeader(fields.tlvs),
      content: fields.content,
      wantReport: fields.need_report === 1,
    };
  },
  newId: (now, counter) => messageId(now, "100001", counter),
  submitAnswer: (id, status) => ({ fields: { msg_id: id, status } }),
  report({ id, from, to, stat, now, counter }) {
    const fields = {
      msg_id: messageId(now, "100002", counter),
      is_report: 1,
      recv_time: now.getFullYear() + clockDigits(now),
      src_term_id: to,
      dest_term_id: from,
      content: writeReport(id, stat, now),
    };
    return { name: "DELIVER", fields };
  },
  mo({ from, to, coding, content, now, counter }) {
    const fields = {
      msg_id: messageId(now, "100002", counter),
      msg_format: coding,
      recv_time: now.getFullYear() + clockDigits(now),
      src_term_id: from,
      dest_term_id: to,
      content,
    };
    return { name: "DELIVER", fields };
  },
  readDeliveryAnswer: ({ fields }) => fields.status,
  otherAnswer: () => null,
};

module.exports = { smgp };
