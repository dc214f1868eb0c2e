#!/usr/bin/env node
"use strict";
// The door of the independent peer; README.md says what it is for.
//   peer.js sp     --protocol P --connect HOST:PORT --login NAME --secret TEXT --source CODE --to N[,N] --text TEXT
//   peer.js smsc   --protocol P --listen HOST:PORT --login NAME --secret TEXT
//   peer.js raw    --connect HOST:PORT                frames as lines of hex, from stdin and to stdout
//   peer.js decode --protocol P [--secret TEXT]       lines of hex to lines of JSON
// P: cmpp2 cmpp3 sgip smgp smpp. Every option stands in OPTIONS below. `sp`, `smsc` and `decode` print JSON lines.

const readline = require("node:readline");
const { parseArgs } = require("node:util");
const { connect } = require("./link");
const { WireError, plain } = require("./wire");
const { runSp } = require("./sp");
const { runSmsc } = require("./smsc");

const PROTOCOLS = { ...require("./cmpp"), ...require("./sgip"), ...require("./smgp"), ...require("./smpp") };

const text = (value) => ({ type: "string", default: value });
const flag = { type: "boolean", default: false };
const OPTIONS = {
  protocol: text(), // see above
  connect: text(), // HOST:PORT to dial
  listen: text(), // HOST:PORT to accept on, port 0 for any; for an SGIP sp, where the gateway dials back
  login: text("900001"), // source_addr, login_name, client_id, system_id
  secret: text("888888"), // shared secret or password
  window: text("16"), // requests that may wait for their answer, on each link
  node: text("3010012345"), // SGIP: node number of this side
  alphabet: text("ascii"), // SMPP: what data_coding 0 means: ascii, latin1, gsm7

  // sp
  source: text("1069000001"), // code from which the message comes
  to: text("13800138000"), // numbers, with commas between
  text: text("hello"),
  coding: text("0"), // 0 ASCII, 8 UCS-2, 15 GB18030
  count: text("1"), // how many times the text is sent; 0: only listen
  long: flag, // split a text that does not fit, with a header before each part
  wide: flag, // with a 16-bit reference in that header
  ref: text("1"), // reference of the first long message
  "want-report": flag, // ask for reports and wait for them
  "want-mo": text("0"), // messages to wait for
  "wait-s": text("10"), // give up after so many seconds in which nothing came
  stay: flag, // until SIGTERM
  mode: text("both"), // send, receive or both: SMGP's login mode, SMPP's kind of bind
  octet: text(), // version octet of the login, when not the usual one
  "heartbeat-s": text("0"), // send a heartbeat every so many seconds
  service: text("TEST"),
  corp: text("12345"), // SGIP

  // smsc
  "report-delay-ms": text("0"),
  "answer-delay-ms": text("0"),
  "report-to": text(), // SGIP: HOST:PORT of the SP
  "hold-reports": flag, // until SIGUSR2
  "report-first": flag, // a report overtakes the answer to its message
  stat: text("DELIVRD"), // of every report
  statuses: text("0"), // of the answers, in turn; with commas between
  "no-answer": flag, // take messages and never answer them
  mo: { type: "string", multiple: true, default: [] }, // FROM,TO,TEXT: delivered to the first that logs in
};

const isSet = (value) => value !== undefined;

function readOptions(values) {
  const protocol = PROTOCOLS[values.protocol];
  if (!protocol) throw new UsageError(`--protocol: one of ${Object.keys(PROTOCOLS).join(", ")}`);
  const number = (name, value = values[name]) => {
    const read = Number(value);
    if (!Number.isInteger(read) || read < 0) throw new UsageError(`--${name}: ${value} is no number`);
    return read;
  };
  const coding = number("coding");
  // In SMPP the octet 0 means what was agreed with the peer.
  const meaning = (octet) =>
    values.protocol === "smpp" && octet === 0 ? { ascii: 0, latin1: 3, gsm7: "gsm7" }[values.alphabet] : octet;
  return {
    ...values,
    protocol,
    to: values.to.split(","),
    coding,
    encoding: meaning(coding),
    decoding: meaning,
    count: number("count"),
    window: number("window"),
    node: number("node"),
    ref: number("ref"),
    octet: isSet(values.octet) ? number("octet") : undefined,
    wantReport: values["want-report"],
    wantMo: number("want-mo"),
    waitS: Number(values["wait-s"]),
    heartbeatS: Number(values["heartbeat-s"]),
    reportDelayMs: number("report-delay-ms"),
    answerDelayMs: number("answer-delay-ms"),
    reportTo: values["report-to"],
    holdReports: values["hold-reports"],
    reportFirst: values["report-first"],
    noAnswer: values["no-answer"],
    statuses: values.statuses.split(",").map((status) => number("statuses", status)),
    mo: values.mo.map((row) => {
      const [from, to, ...words] = row.split(",");
      return { from, to, text: words.join(",") };
    }),
  };
}

class UsageError extends Error {}

const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

// Sends frames byte for byte and prints what comes, cut by length and by nothing else. Ends when the other side closes,
// or when stdin has ended and nothing came for `--wait-s` seconds.
async function runRaw({ connect: where, "wait-s": waitS }) {
  const socket = await connect(where);
  let kept = Buffer.alloc(0);
  let timer = null;
  const wait = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = setTimeout(() => socket.destroy(), Number(waitS) * 1000);
  };
  socket.on("data", (chunk) => {
    kept = Buffer.concat([kept, chunk]);
    while (kept.length >= 4 && kept.length >= kept.readUInt32BE() && kept.readUInt32BE() >= 4) {
      const length = kept.readUInt32BE();
      process.stdout.write(`${kept.subarray(0, length).toString("hex")}\n`);
      kept = kept.subarray(length);
    }
    wait();
  });
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.on("error", () => {});
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => line.trim() && socket.write(Buffer.from(line.trim(), "hex")));
  lines.on("close", () => {
    timer = setTimeout(() => {}, 0);
    wait();
  });
  await closed;
}

// What a frame says; `again`: the same written anew; `digest`: whether that of a login is right.
function decodeFrame(protocol, hex, options) {
  const frame = Buffer.from(hex, "hex");
  const pdu = protocol.dialect.decode(frame);
  const again = pdu.name === null ? null : protocol.dialect.encode(pdu).toString("hex");
  const digest = [protocol.login].flat().includes(pdu.name) ? protocol.readLogin(pdu, options).digest : null;
  const delivery = protocol.delivery.includes(pdu.name) ? plain(protocol.readDelivery(pdu)) : null;
  const message = protocol.submit === pdu.name ? plain(protocol.readSubmit(pdu)) : delivery;
  const { name, sequence, status, fields } = pdu;
  return { event: "pdu", name, sequence, status, fields: plain(fields), message, digest, again };
}

async function runDecode(protocol, options) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      if (line.trim()) print(decodeFrame(protocol, line.trim(), options));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      print({ event: "broken", reason: error.message });
    }
  }
}

async function main([verb, ...rest]) {
  const { values } = parseArgs({ args: rest, options: OPTIONS });
  if (verb === "raw") return runRaw(values);
  const { protocol, ...options } = readOptions(values);
  if (verb === "sp") return runSp(protocol, options, print);
  if (verb === "smsc") return runSmsc(protocol, options, print);
  if (verb === "decode") return runDecode(protocol, options);
  throw new UsageError("a verb: sp, smsc, raw or decode");
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    print({ event: "error", reason: error.message });
    if (!(error instanceof UsageError)) process.stderr.write(`${error.stack}\n`);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
