"use strict";
// node-smpp as a client and as a server, with the options and the JSON lines of tests/peers/independent/peer.js as far
// as it has what they name. Run through tests/peers/foreign/node_smpp.py, which finds the package.

const { parseArgs } = require("node:util");
const smpp = require("smpp");

const text = (value) => ({ type: "string", default: value });
const flag = { type: "boolean", default: false };
const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    connect: text(), // client: HOST:PORT
    listen: text("127.0.0.1:0"), // server
    login: text("900001"),
    secret: text("888888"),
    source: text("1069000001"),
    to: text("13800138000"),
    text: text("hello"),
    coding: text("0"), // 0 GSM 03.38 (1, by name ASCII, too), 3 Latin-1, 8 UCS-2
    count: text("1"),
    payload: flag, // the text in the TLV message_payload
    "want-report": flag,
    "want-mo": text("0"),
    "wait-s": text("10"),
    stay: flag,
    stat: text("DELIVRD"), // server: of every receipt
    statuses: text("0"), // server: of the answers, in turn
    mo: { type: "string", multiple: true, default: [] }, // server: FROM,TO,TEXT, to each that binds
  },
});

const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const STATES = { DELIVRD: 2, EXPIRED: 3, DELETED: 4, UNDELIV: 5, ACCEPTD: 6, UNKNOWN: 7, REJECTD: 8 };

function words(pdu) {
  const message = pdu.message_payload ?? pdu.short_message;
  const { udh, message: body } = Buffer.isBuffer(message) || typeof message === "string" ? { message } : message;
  const text = Buffer.isBuffer(body) ? body.toString("latin1") : body;
  return { text, udh: udh ? Buffer.concat(udh).toString("hex") : null };
}

function client() {
  const counts = { submitted: 0, answered: 0, accepted: 0, refused: 0, reports: 0, mo: 0, heartbeats: 0 };
  let status = null;
  let isEnding = false;
  let timer = null;
  const session = smpp.connect({ url: `smpp://${options.connect}`, connectTimeout: 10000 });

  const end = () => {
    print({ event: "end", status, ...counts, unanswered: counts.submitted - counts.answered });
    process.exit(0);
  };
  const leave = () => {
    if (isEnding) return;
    isEnding = true;
    setTimeout(end, 2000);
    session.unbind(() => session.close());
  };
  const note = (event) => {
    print(event);
    clearTimeout(timer);
    const reports = options["want-report"] ? counts.accepted : 0;
    const isComplete =
      status === 0 &&
      counts.answered === Number(options.count) * options.to.split(",").length &&
      counts.reports >= reports &&
      counts.mo >= Number(options["want-mo"]);
    if (options.stay) return;
    if (isComplete) leave();
    else timer = setTimeout(leave, Number(options["wait-s"]) * 1000);
  };

  session.on("error", (error) => print({ event: "error", reason: error.message }));
  session.on("close", end);
  process.on("SIGTERM", leave);
  session.on("unbind", (pdu) => {
    print({ event: "goodbye" });
    session.send(pdu.response());
    session.close();
  });
  session.on("enquire_link", (pdu) => {
    counts.heartbeats += 1;
    session.send(pdu.response());
    note({ event: "heartbeat" });
  });
  session.on("deliver_sm", (pdu) => {
    session.send(pdu.response());
    const ends = { from: pdu.source_addr, to: pdu.destination_addr };
    const said = words(pdu);
    if ((pdu.esm_class & 0x3c) === 0x04) {
      counts.reports += 1;
      const stat = (/stat:(\S+)/.exec(said.text) ?? ["", ""])[1];
      const { receipted_message_id: id = null, message_state: state = null } = pdu;
      note({ event: "report", id, stat, ...ends, state, receipt: said.text });
    } else {
      counts.mo += 1;
      note({ event: "mo", ...ends, coding: pdu.data_coding, ...said });
    }
  });

  function submit(to) {
    counts.submitted += 1;
    const body = options.payload ? { message_payload: options.text } : { short_message: options.text };
    const fields = {
      source_addr: options.source,
      dest_addr_ton: 1,
      dest_addr_npi: 1,
      destination_addr: to,
      registered_delivery: options["want-report"] ? 1 : 0,
      data_coding: Number(options.coding),
      ...body,
    };
    session.submit_sm(fields, (answer) => {
      counts.answered += 1;
      counts[answer.command_status === 0 ? "accepted" : "refused"] += 1;
      const { sequence_number: sequence, message_id: id } = answer;
      note({ event: "answer", sequence, to: [to], status: answer.command_status, id: id ?? "" });
    });
  }

  session.on("connect", () => {
    session.bind_transceiver({ system_id: options.login, password: options.secret, interface_version: 0x34 }, (pdu) => {
      status = pdu.command_status;
      if (status !== 0) {
        print({ event: "login", status });
        session.close();
        return;
      }
      note({ event: "login", status, system_id: pdu.system_id });
      for (let n = 0; n < Number(options.count); n++) options.to.split(",").forEach(submit);
    });
  });
}

function server() {
  const counts = { logins: 0, refused: 0, messages: 0, reports: 0, mo: 0, heartbeats: 0 };
  const statuses = options.statuses.split(",").map(Number);
  const sessions = new Set();

  function deliver(session, fields, kind, id) {
    session.deliver_sm(fields, (answer) => {
      counts[kind === "report" ? "reports" : "mo"] += 1;
      print({ event: `${kind}-answer`, id, to: fields.source_addr, status: answer.command_status });
    });
  }

  function bind(session, pdu) {
    const status = pdu.system_id !== options.login ? 0xf : pdu.password !== options.secret ? 0xe : 0;
    session.send(pdu.response({ command_status: status, system_id: "node-smpp" }));
    print({ event: "login", status, login: pdu.system_id, version: pdu.interface_version, command: pdu.command });
    counts[status === 0 ? "logins" : "refused"] += 1;
    if (status !== 0) {
      session.close();
      return;
    }
    session.isBound = true;
    if (pdu.command === "bind_transmitter") return;
    for (const row of options.mo) {
      const [from, to, ...rest] = row.split(",");
      const short_message = rest.join(",");
      const data_coding = /^[\0-\x7f]*$/.test(short_message) ? 0 : 8;
      deliver(session, { source_addr: from, destination_addr: to, data_coding, short_message }, "mo", null);
    }
  }

  function take(session, pdu) {
    const status = session.isBound ? statuses[counts.messages % statuses.length] : 4;
    counts.messages += 1;
    const id = status === 0 ? `n${counts.messages}` : "";
    const ends = { from: pdu.source_addr, to: [pdu.destination_addr] };
    const { sequence_number: sequence, data_coding: coding } = pdu;
    print({ event: "message", sequence, id, status, ...ends, coding, ...words(pdu) });
    session.send(pdu.response({ command_status: status, message_id: id }));
    if (status !== 0 || (pdu.registered_delivery & 3) !== 1) return;
    const at = "2601010000";
    const receipt = `id:${id} sub:001 dlvrd:001 submit date:${at} done date:${at} stat:${options.stat} err:000 text:`;
    const fields = {
      source_addr: pdu.destination_addr,
      destination_addr: pdu.source_addr,
      esm_class: 4,
      short_message: receipt,
      receipted_message_id: id,
      message_state: STATES[options.stat] ?? 7,
    };
    deliver(session, fields, "report", id);
  }

  const listener = smpp.createServer((session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.on("close", () => {
      sessions.delete(session);
      print({ event: "closed" });
    });
    for (const name of ["bind_transceiver", "bind_transmitter", "bind_receiver"]) {
      session.on(name, (pdu) => bind(session, pdu));
    }
    session.on("submit_sm", (pdu) => take(session, pdu));
    session.on("enquire_link", (pdu) => {
      counts.heartbeats += 1;
      session.send(pdu.response());
      print({ event: "heartbeat" });
    });
    session.on("unbind", (pdu) => {
      print({ event: "goodbye" });
      session.send(pdu.response());
      session.close();
    });
    session.on("unknown", (pdu) => session.send(pdu.response({ command_status: 3 })));
  });
  const [host, port] = options.listen.split(":");
  listener.listen(Number(port), host, () => print({ event: "listening", port: listener.address().port }));

  process.on("SIGTERM", () => {
    const end = () => {
      print({ event: "end", ...counts });
      process.exit(0);
    };
    const leave = (session) =>
      new Promise((resolve) => {
        session.on("close", resolve);
        if (session.isBound) session.unbind(() => session.close());
        else session.close();
      });
    setTimeout(end, 2000);
    Promise.all([...sessions].map(leave)).then(end);
  });
}

({ client, server })[positionals[0]]();
