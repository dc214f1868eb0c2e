"use strict";
// SGIP 1.2 (China Unicom). The 12-octet sequence of a SUBMIT is the message's id. The gateway dials the SP back to
// bring REPORT and DELIVER, on a link that it opens with a BIND of its own.

const { Dialect, unsigned, clockDigits } = require("./wire");

const RESULT = "result:u1 reserve:s8";
const SGIP = new Dialect(
  "sgip",
  { header: "sequence1:u4 sequence2:u4 sequence3:u4", cap: 4096, suffix: "_RESP" },
  {
    BIND: [1, "login_type:u1 login_name:s16 login_password:s16 reserve:s8", RESULT],
    UNBIND: [2, "", ""],
    SUBMIT: [
      3,
      `sp_number:s21 charge_number:s21 user_count:u1 user_number:s21*user_count corp_id:s5 service_type:s10 fee_type:u1
       fee_value:s6 given_value:s6 agent_flag:u1 more_late_to_mt:u1 priority:u1 expire_time:s16 schedule_time:s16
       report_flag:u1 tp_pid:u1 tp_udhi:u1 coding:u1 message_type:u1 message_length:u4 content:b*message_length
       reserve:s8`,
      RESULT,
    ],
    DELIVER: [
      4,
      `user_number:s21 sp_number:s21 tp_pid:u1 tp_udhi:u1 coding:u1 message_length:u4 content:b*message_length
       reserve:s8`,
      RESULT,
    ],
    REPORT: [5, "submit_sequence:b12 report_type:u1 user_number:s21 state:u1 error:u1 reserve:s8", RESULT],
  },
);

const STATES = { 0: "DELIVRD", 1: "WAITING", 2: "UNDELIV" };
const sequenceHex = (sequence) => Buffer.concat(sequence.map((part) => unsigned(part, 4, "sequence"))).toString("hex");

const sgip = {
  dialect: SGIP,
  login: "BIND",
  heartbeat: null,
  goodbye: "UNBIND",
  submit: "SUBMIT",
  delivery: ["DELIVER", "REPORT"],
  takesList: true, // of recipients
  dialsBack: true,
  sequence: ({ node, now, counter }) => [node, Number(clockDigits(now)), counter],
  sequenceHex,

  // -------------------------------------------------------------------------------------------------- as the client
  // login_type: 1 an SP to the gateway, 2 the gateway to an SP.
  loginRequest: ({ login, secret, loginType = 1 }) => ({
    login_type: loginType,
    login_name: login,
    login_password: secret,
  }),
  readLoginAnswer: (request, { fields }) => ({ status: fields.result, digest: null, version: null }),
  submitRequests({ source, to, coding, wantReport, service, corp }, { content, udh }) {
    return [
      {
        sp_number: source,
        charge_number: "0".repeat(21), // the SP pays
        user_number: to,
        corp_id: corp,
        service_type: service,
        fee_type: 1,
        fee_value: "0",
        given_value: "0",
        report_flag: wantReport ? 1 : 2,
        tp_udhi: udh ? 1 : 0,
        coding,
        content,
      },
    ];
  },
  readSubmitAnswer: ({ fields, sequence }) => ({ status: fields.result, id: sequenceHex(sequence) }),
  readDelivery({ name, fields }) {
    if (name === "DELIVER") {
      return {
        event: "mo",
        from: fields.user_number,
        to: fields.sp_number,
        coding: fields.coding,
        udhi: fields.tp_udhi === 1,
        content: fields.content,
      };
    }
    return {
      event: "report",
      id: fields.submit_sequence.toString("hex"),
      stat: STATES[fields.state] ?? "UNKNOWN",
      from: fields.user_number,
      state: fields.state,
      error: fields.error,
    };
  },
  deliveryAnswer: () => ({ result: 0 }),

  // -------------------------------------------------------------------------------------------------- as the server
  readLogin({ fields }, { login, secret, loginType = 1 }) {
    const isKnown = fields.login_name === login && fields.login_password === secret;
    const status = fields.login_type !== loginType ? 4 : isKnown ? 0 : 1;
    return { status, digest: null, login: fields.login_name, version: null, mode: "send", protocol: sgip };
  },
  loginAnswer: (request, status) => ({ fields: { result: status } }),
  readSubmit({ fields }) {
    return {
      from: fields.sp_number,
      to: fields.user_number,
      coding: fields.coding,
      udhi: fields.tp_udhi === 1,
      content: fields.content,
      wantReport: fields.report_flag === 1,
    };
  },
  newId: (now, counter, { sequence }) => sequenceHex(sequence),
  submitAnswer: (id, status) => ({ fields: { result: status } }),
  report({ id, to, stat }) {
    const isOk = stat === "DELIVRD";
    const fields = { submit_sequence: id, report_type: 0, user_number: to, state: isOk ? 0 : 2, error: isOk ? 0 : 29 };
    return { name: "REPORT", fields };
  },
  mo: ({ from, to, coding, content }) => ({
    name: "DELIVER",
    fields: { user_number: from, sp_number: to, coding, content },
  }),
  readDeliveryAnswer: ({ fields }) => fields.result,
  otherAnswer: () => null,
};

module.exports = { sgip };
