"use strict";
// SMPP 3.4, the part that a message and its receipt need.

const { Dialect, reportTime } = require("./wire");

const BIND = `system_id:c16 password:c9 system_type:c13 interface_version:u1 addr_ton:u1 addr_npi:u1 address_range:c41`;
const BOUND = "system_id:c16 tlvs:tlvs | ";
const MESSAGE = `service_type:c6 source_addr_ton:u1 source_addr_npi:u1 source_addr:c21 dest_addr_ton:u1 dest_addr_npi:u1
  destination_addr:c21 esm_class:u1 protocol_id:u1 priority_flag:u1 schedule_delivery_time:c17 validity_period:c17
  registered_delivery:u1 replace_if_present_flag:u1 data_coding:u1 sm_default_msg_id:u1 sm_length:u1
  short_message:b*sm_length tlvs:tlvs`;
const SMPP = new Dialect(
  "smpp",
  { header: "status:u4 sequence1:u4", cap: 66000, suffix: "_resp" },
  {
    bind_receiver: [1, BIND, BOUND],
    bind_transmitter: [2, BIND, BOUND],
    submit_sm: [4, MESSAGE, "message_id:c65 tlvs:tlvs | "],
    deliver_sm: [5, MESSAGE, "message_id:c65 tlvs:tlvs | "],
    unbind: [6, "", ""],
    bind_transceiver: [9, BIND, BOUND],
    enquire_link: [0x15, "", ""],
    generic_nack: [0x80000000, "", null],
  },
);

const BINDS = { send: "bind_transmitter", receive: "bind_receiver", both: "bind_transceiver" };
const INTERFACE_VERSION = 0x0210;
const RECEIPTED_ID = 0x001e;
const MESSAGE_STATE = 0x0427;
const PAYLOAD = 0x0424;
const STATES = { DELIVRD: 2, EXPIRED: 3, DELETED: 4, UNDELIV: 5, ACCEPTD: 6, UNKNOWN: 7, REJECTD: 8 };

const findTlv = (tlvs, wanted) => tlvs.find(({ tag }) => tag === wanted)?.value;

function readMessage(fields) {
  return {
    from: fields.source_addr,
    to: fields.destination_addr,
    coding: fields.data_coding,
    udhi: (fields.esm_class & 0x40) !== 0,
    content: findTlv(fields.tlvs, PAYLOAD) ?? fields.short_message,
  };
}

const smpp = {
  dialect: SMPP,
  login: Object.values(BINDS),
  heartbeat: "enquire_link",
  goodbye: "unbind",
  submit: "submit_sm",
  delivery: ["deliver_sm"],
  takesList: false, // of recipients
  refusal: { name: "generic_nack", status: 3 }, // of a command that is not known

  // -------------------------------------------------------------------------------------------------- as the client
  loginName: (mode) => BINDS[mode],
  loginRequest: ({ login, secret, octet }) => ({
    system_id: login,
    password: secret,
    interface_version: octet ?? 0x34,
  }),
  readLoginAnswer(request, { status, fields }) {
    return { status, digest: null, version: findTlv(fields.tlvs ?? [], INTERFACE_VERSION)?.[0] ?? null };
  },
  submitRequests({ source, to, coding, wantReport }, { content, udh }) {
    return to.map((number) => ({
      source_addr: source,
      dest_addr_ton: 1,
      dest_addr_npi: 1,
      destination_addr: number,
      esm_class: udh ? 0x40 : 0,
      registered_delivery: wantReport ? 1 : 0,
      data_coding: coding,
      short_message: content.length > 254 ? Buffer.alloc(0) : content,
      tlvs: content.length > 254 ? [{ tag: PAYLOAD, value: content }] : [],
    }));
  },
  readSubmitAnswer: ({ status, fields }) => ({ status, id: fields.message_id ?? "" }),
  readDelivery({ fields }) {
    const message = readMessage(fields);
    if ((fields.esm_class & 0x3c) !== 0x04) return { event: "mo", ...message };
    const text = message.content.toString("latin1");
    const find = (pattern) => (pattern.exec(text) ?? ["", ""])[1];
    const state = findTlv(fields.tlvs, MESSAGE_STATE)?.[0] ?? null;
    const id = findTlv(fields.tlvs, RECEIPTED_ID)?.toString("latin1").replace(/\0.*$/, "");
    return {
      event: "report",
      id: id ?? find(/id:(\S+)/i),
      stat: find(/stat:(\S+)/i),
      from: message.from,
      to: message.to,
      error: find(/err:(\S+)/i),
      state,
      receipt: text,
    };
  },
  deliveryAnswer: () => ({ message_id: "" }),

  // -------------------------------------------------------------------------------------------------- as the server
  readLogin({ name, fields }, { login, secret }) {
    const status = fields.system_id !== login ? 0xf : fields.password !== secret ? 0xe : 0;
    const mode = Object.keys(BINDS).find((one) => BINDS[one] === name);
    return { status, digest: null, login: fields.system_id, version: fields.interface_version, mode, protocol: smpp };
  },
  loginAnswer: (request, status) => ({
    status,
    fields: { system_id: "independent", tlvs: [{ tag: INTERFACE_VERSION, value: Buffer.from([0x34]) }] },
  }),
  readSubmit({ fields }) {
    const message = readMessage(fields);
    return { ...message, to: [message.to], wantReport: (fields.registered_delivery & 3) === 1 };
  },
  newId: (now, counter) => `${Math.floor(now.getTime() / 1000).toString(16)}-${counter}`,
  submitAnswer: (id, status) => ({ status, fields: { message_id: id } }),
  report({ id, from, to, stat, now }) {
    const at = reportTime(now);
    const [dlvrd, error] = stat === "DELIVRD" ? ["001", "000"] : ["000", "001"];
    const text = `id:${id} sub:001 dlvrd:${dlvrd} submit date:${at} done date:${at} stat:${stat} err:${error} text:`;
    const fields = {
      source_addr: to,
      destination_addr: from,
      esm_class: 0x04,
      short_message: Buffer.from(text),
      tlvs: [
        { tag: RECEIPTED_ID, value: Buffer.from(`${id}\0`) },
        { tag: MESSAGE_STATE, value: Buffer.from([STATES[stat] ?? 7]) },
      ],
    };
    return { name: "deliver_sm", fields };
  },
  mo: ({ from, to, coding, content }) => ({
    name: "deliver_sm",
    fields: { source_addr: from, destination_addr: to, data_coding: coding, short_message: content },
  }),
  readDeliveryAnswer: ({ status }) => status,
  otherAnswer: () => null,
};

module.exports = { smpp };
