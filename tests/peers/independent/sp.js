"use strict";
// The client: a service provider (SP, in SMPP an ESME) that logs in, submits, and answers what is delivered to it.

const { once } = require("node:events");
const { Link, connect, listen } = require("./link");
const text = require("./text");

async function runSp(protocol, options, print) {
  const counts = { submitted: 0, answered: 0, accepted: 0, refused: 0, reports: 0, mo: 0, heartbeats: 0 };
  let expectedReports = 0;
  const progress = new Progress(options.waitS, options.stay);

  const show = (event) => {
    print(event);
    progress.note();
  };

  function takeDelivery(link, pdu) {
    if (!protocol.delivery.includes(pdu.name)) {
      show({ event: "unexpected", command: pdu.name });
      link.socket.destroy();
      return;
    }
    const { content, udhi, ...delivery } = protocol.readDelivery(pdu);
    link.answer(pdu, { fields: protocol.deliveryAnswer(pdu) });
    if (delivery.event === "report") counts.reports += 1;
    else {
      counts.mo += 1;
      Object.assign(delivery, text.show(content, options.decoding(delivery.coding), udhi));
    }
    show(delivery);
  }

  function attend(link) {
    link.on("heartbeat", () => {
      counts.heartbeats += 1;
      show({ event: "heartbeat" });
    });
    link.on("goodbye", () => show({ event: "goodbye" }));
    link.on("unknown", ({ command }) => show({ event: "unknown", command }));
    link.on("broken", (error, hex) => show({ event: "broken", reason: error.message, hex }));
  }

  // ------------------------------------------------------------------------------------------- the gateway dials back
  const back = new Set();
  let listener = null;
  if (options.listen) {
    listener = await listen(options.listen, (socket) => {
      const link = new Link(socket, protocol, options);
      let isIn = false;
      back.add(link);
      attend(link);
      link.on("closed", () => back.delete(link));
      link.on("request", (pdu) => {
        if (isIn) {
          takeDelivery(link, pdu);
          return;
        }
        const { status, login } = protocol.readLogin(pdu, { ...options, loginType: 2 });
        link.answer(pdu, protocol.loginAnswer(pdu, status, options));
        show({ event: "bind", login, status });
        isIn = status === 0;
        if (!isIn) link.socket.end();
      });
    });
    show({ event: "listening", port: listener.address().port });
  }

  // ---------------------------------------------------------------------------------------------------- the main link
  const link = new Link(await connect(options.connect), protocol, options);
  attend(link);
  link.on("request", (pdu) => takeDelivery(link, pdu));
  link.on("closed", () => {
    if (!protocol.dialsBack) progress.end(); // else reports may still come on the other link
  });

  const request = protocol.loginRequest({ ...options, now: new Date() });
  const name = protocol.loginName ? protocol.loginName(options.mode) : protocol.login;
  let status = null;
  try {
    const answer = await link.request(name, request, { isUrgent: true });
    const login = protocol.readLoginAnswer(request, answer, options, answer.frame);
    status = login.status;
    show({ event: "login", ...login });
  } catch (error) {
    if (error.message !== "closed") throw error;
    show({ event: "closed", during: "login" });
  }

  function submit(part, fields) {
    const to = protocol.takesList ? options.to : [fields.destination_addr];
    counts.submitted += 1;
    let sequence = null;
    const sent = (one) => {
      sequence = protocol.sequenceHex ? protocol.sequenceHex(one) : one;
    };
    return link.request(protocol.submit, fields, { sent }).then(
      (pdu) => {
        const answer = protocol.readSubmitAnswer(pdu);
        counts.answered += 1;
        counts[answer.status === 0 ? "accepted" : "refused"] += 1;
        if (answer.status === 0) expectedReports += to.length;
        show({ event: "answer", sequence, to, part: part.udh ? part.udh.part : 1, ...answer });
      },
      (error) => {
        if (error.message !== "closed") throw error;
      },
    );
  }

  if (status === 0) {
    const heartbeat = options.heartbeatS && protocol.heartbeat ? beat(link, protocol, options, show) : null;
    const submissions = [];
    for (let n = 0; n < options.count; n++) {
      const reference = options.ref + n;
      const parts = options.long
        ? text.split(options.text, options.encoding, { reference, wide: options.wide })
        : [{ content: text.encode(options.text, options.encoding), udh: null }];
      for (const part of parts) {
        for (const fields of protocol.submitRequests(options, part)) submissions.push(submit(part, fields));
      }
    }
    const isComplete = () =>
      counts.answered === counts.submitted &&
      (!options.wantReport || counts.reports >= expectedReports) &&
      counts.mo >= options.wantMo;
    progress.begin(isComplete);
    const failure = Promise.all(submissions).then(() => new Promise(() => {})); // a text that no PDU can hold
    await Promise.race([progress.ended, failure]);
    clearInterval(heartbeat);
  }
  if (!link.isClosed) await link.leave();
  await Promise.all([...back].map((one) => one.leave()));
  if (listener) {
    listener.close();
    await once(listener, "close");
  }
  print({ event: "end", status, ...counts, unanswered: counts.submitted - counts.answered });
}

function beat(link, protocol, options, show) {
  return setInterval(() => {
    link.request(protocol.heartbeat, {}, { isUrgent: true }).then(
      () => show({ event: "heartbeat-answer" }),
      () => {},
    );
  }, options.heartbeatS * 1000);
}

// Ends when all that is expected has come, after `waitS` seconds in which nothing happened, or on SIGTERM.
class Progress {
  constructor(waitS, stay) {
    this.waitS = waitS;
    this.stay = stay;
    this.isComplete = () => false;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
    process.on("SIGTERM", () => this.end());
  }

  begin(isComplete) {
    this.isComplete = isComplete;
    this.note();
  }

  note() {
    clearTimeout(this.timer);
    if (this.stay) return;
    if (this.isComplete()) this.end();
    else this.timer = setTimeout(() => this.end(), this.waitS * 1000);
  }
}

module.exports = { runSp };
