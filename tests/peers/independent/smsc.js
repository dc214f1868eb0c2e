"use strict";
// The server: an operator's gateway (in SMPP an SMSC) that takes logins, answers submissions, reports and delivers.

const { Link, connect, listen, pause } = require("./link");
const text = require("./text");
const { plain } = require("./wire");

async function runSmsc(protocol, options, print) {
  const counts = { logins: 0, refused: 0, messages: 0, reports: 0, mo: 0, heartbeats: 0 };
  const links = new Set(); // open connections; `mode` is set once logged in
  const queue = []; // deliveries that no link could take yet
  const held = []; // reports that wait for SIGUSR2
  let ids = 0;
  let back = null; // SGIP: the link that was dialled to the SP
  let isMoSent = false;

  // -------------------------------------------------------------------------------------------------- what goes out
  const receivers = () =>
    protocol.dialsBack ? [back].filter((one) => one?.mode) : [...links].filter(({ mode }) => mode && mode !== "send");

  // `prefer`: the link on which the message came, if it can take deliveries.
  function deliver(delivery, prefer) {
    const able = receivers();
    const link = able.includes(prefer) ? prefer : able[0];
    if (!link) {
      queue.push(delivery);
      if (protocol.dialsBack) dialBack();
      return;
    }
    const { kind, id, to, request } = delivery;
    const now = new Date();
    const { name, fields } = request(link.protocol, now, ++ids);
    link.request(name, fields).then(
      (answer) => {
        counts[kind === "report" ? "reports" : "mo"] += 1;
        print({ event: `${kind}-answer`, id, to, status: link.protocol.readDeliveryAnswer(answer) });
      },
      () => print({ event: `${kind}-lost`, id, to }),
    );
  }

  const flush = () => queue.splice(0).forEach((delivery) => deliver(delivery, null));

  function dialBack() {
    if (back || !options.reportTo) return;
    back = { mode: null };
    connect(options.reportTo)
      .then(async (socket) => {
        const link = new Link(socket, protocol, options);
        back = link;
        attend(link);
        link.on("closed", () => {
          back = null;
        });
        const request = protocol.loginRequest({ ...options, loginType: 2, now: new Date() });
        const answer = await link.request(protocol.login, request, { isUrgent: true });
        const { status } = protocol.readLoginAnswer(request, answer, options, answer.frame);
        print({ event: "back", status });
        if (status !== 0) return;
        link.mode = "both";
        flush();
      })
      .catch((error) => {
        back = null;
        print({ event: "back", error: error.message });
      });
  }

  function sendMo() {
    if (isMoSent) return;
    isMoSent = true;
    for (const { from, to, text: words } of options.mo) {
      const coding = /^[\0-\x7f]*$/.test(words) ? 0 : 8;
      const content = text.encode(words, options.decoding(coding));
      const request = (spoken, now, counter) => spoken.mo({ from, to, coding, content, now, counter });
      deliver({ kind: "mo", id: null, to, request }, null);
    }
  }

  // --------------------------------------------------------------------------------------------------- what comes in
  function attend(link) {
    link.on("heartbeat", () => {
      counts.heartbeats += 1;
      print({ event: "heartbeat" });
    });
    link.on("goodbye", () => print({ event: "goodbye" }));
    link.on("unknown", ({ command }) => print({ event: "unknown", command }));
    link.on("broken", (error, hex) => print({ event: "broken", reason: error.message, hex }));
  }

  function takeLogin(link, pdu) {
    if (![link.protocol.login].flat().includes(pdu.name)) {
      print({ event: "unexpected", command: pdu.name });
      link.socket.destroy();
      return;
    }
    const { protocol: spoken, mode, ...login } = link.protocol.readLogin(pdu, options);
    link.speak(spoken);
    link.answer(pdu, spoken.loginAnswer(pdu, login.status, options));
    print({ event: "login", ...login, mode, speaks: spoken.dialect.name });
    if (login.status !== 0) {
      counts.refused += 1;
      link.socket.end();
      return;
    }
    counts.logins += 1;
    link.mode = mode;
    flush();
    if (receivers().length || protocol.dialsBack) sendMo();
  }

  async function takeSubmit(link, pdu) {
    const spoken = link.protocol;
    const { wantReport, content, udhi, ...message } = spoken.readSubmit(pdu);
    const status = options.statuses[counts.messages % options.statuses.length];
    counts.messages += 1;
    const id = status === 0 ? spoken.newId(new Date(), ++ids, pdu) : "";
    print({
      event: "message",
      command: pdu.name,
      sequence: spoken.sequenceHex ? spoken.sequenceHex(pdu.sequence) : pdu.sequence,
      id,
      status,
      ...message,
      udhi,
      ...text.show(content, options.decoding(message.coding), udhi),
      fields: plain(pdu.fields),
    });
    if (options.noAnswer) return;
    const answer = async () => {
      await pauseFor(options.answerDelayMs);
      link.answer(pdu, spoken.submitAnswer(id, status));
    };
    const report = async () => {
      await pauseFor(options.reportDelayMs);
      if (!wantReport || status !== 0) return;
      for (const to of message.to) {
        const row = { id, from: message.from, to, stat: options.stat };
        const request = (as, now, counter) => as.report({ ...row, now, counter: counter % 2 ** 32 });
        const send = () => deliver({ kind: "report", id, to, request }, link);
        if (options.holdReports) held.push(send);
        else send();
      }
    };
    if (options.reportFirst) await report().then(answer);
    else await answer().then(report);
  }

  process.on("SIGUSR2", () => held.splice(0).forEach((send) => send()));
  const server = await listen(options.listen, (socket) => {
    const link = new Link(socket, protocol, options);
    link.mode = null;
    links.add(link);
    attend(link);
    link.on("closed", () => {
      links.delete(link);
      print({ event: "closed" });
    });
    link.on("request", (pdu) => {
      if (link.mode === null) takeLogin(link, pdu);
      else if (pdu.name === link.protocol.submit) takeSubmit(link, pdu);
      else {
        const fields = link.protocol.otherAnswer(pdu, counts);
        print({ event: fields ? "asked" : "unexpected", command: pdu.name, fields: plain(pdu.fields) });
        if (fields) link.answer(pdu, { fields });
        else link.socket.destroy();
      }
    });
  });
  print({ event: "listening", port: server.address().port });

  await new Promise((resolve) => process.on("SIGTERM", resolve));
  server.close();
  const open = [...links].filter((link) => link.mode);
  for (const link of links) if (!link.mode) link.socket.destroy();
  if (back instanceof Link) open.push(back);
  await Promise.all(open.map((link) => link.leave()));
  print({ event: "end", ...counts, undelivered: queue.length + held.length });
}

const pauseFor = (ms) => (ms ? pause(ms) : Promise.resolve());

module.exports = { runSmsc };
