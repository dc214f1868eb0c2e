"use strict";
// One connection: frames in and out, answers matched to requests, a window. Heartbeats and goodbyes of the other side
// are answered here, so that a client and a server differ only in what they do with the rest.
// Emits `request` (pdu), `heartbeat`, `goodbye`, `unknown` (pdu), `broken` (error, hex), `closed`.

const { EventEmitter } = require("node:events");
const net = require("node:net");
const { WireError, Framer } = require("./wire");

let counter = 0; // for all links of this process, so that SGIP's sequences, which are message ids, never repeat
const isAnswer = (pdu) => pdu.command >= 0x80000000;

class Link extends EventEmitter {
  constructor(socket, protocol, { window = 16, node = 0 } = {}) {
    super();
    Object.assign(this, { socket, window, node });
    this.pending = new Map(); // sequence -> what waits for its answer
    this.waiting = []; // requests that found the window full
    this.isClosed = false;
    this.speak(protocol);
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.receive(chunk));
    socket.on("error", () => {}); // `close` follows
    socket.on("close", () => {
      this.isClosed = true;
      for (const { reject } of [...this.pending.values(), ...this.waiting]) reject(new Error("closed"));
      this.pending.clear();
      this.emit("closed");
    });
  }

  // The protocol, or a version of it, that this link turns out to speak.
  speak(protocol) {
    this.protocol = protocol;
    this.framer = this.framer ?? new Framer(protocol.dialect);
  }

  receive(chunk) {
    let frames;
    try {
      frames = this.framer.push(chunk);
    } catch (error) {
      this.breakOff(error, chunk);
      return;
    }
    for (const frame of frames) {
      if (this.isClosed || this.socket.destroyed) return;
      try {
        this.handle(this.protocol.dialect.decode(frame), frame);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        this.breakOff(error, frame);
      }
    }
  }

  breakOff(error, octets) {
    this.emit("broken", error, octets.toString("hex"));
    this.socket.destroy();
  }

  handle(pdu, frame) {
    if (isAnswer(pdu)) {
      const waiter = this.pending.get(String(pdu.sequence));
      if (!waiter) return;
      this.pending.delete(String(pdu.sequence));
      this.fill();
      waiter.resolve({ ...pdu, frame });
    } else if (pdu.name === null) {
      this.emit("unknown", pdu);
      if (this.protocol.refusal) this.send({ ...this.protocol.refusal, sequence: pdu.sequence });
    } else if (pdu.name === this.protocol.heartbeat) {
      this.answer(pdu, {});
      this.emit("heartbeat");
    } else if (pdu.name === this.protocol.goodbye) {
      this.answer(pdu, {});
      this.emit("goodbye");
      this.socket.end();
    } else this.emit("request", pdu);
  }

  send(pdu) {
    if (!this.isClosed && this.socket.writable) this.socket.write(this.protocol.dialect.encode(pdu));
  }

  // `fields`, and for SMPP `status`, of the answer to a request.
  answer(pdu, { status = 0, fields = {} }) {
    const name = pdu.name + this.protocol.dialect.suffix;
    this.send({ name, sequence: pdu.sequence, status, fields });
  }

  nextSequence() {
    counter += 1;
    const { sequence } = this.protocol;
    return sequence ? sequence({ node: this.node, now: new Date(), counter }) : counter;
  }

  // Sends a request as soon as the window has room; gives its answer. Rejects when the link closes.
  // `sent` is called with the sequence. What is urgent (login, heartbeat, goodbye) does not wait for the window.
  request(name, fields, { isUrgent = false, sent = () => {} } = {}) {
    return new Promise((resolve, reject) => {
      const start = () => {
        const sequence = this.nextSequence();
        this.pending.set(String(sequence), { resolve, reject });
        try {
          this.send({ name, sequence, fields });
        } catch (error) {
          this.pending.delete(String(sequence));
          reject(error);
          return;
        }
        sent(sequence);
      };
      if (this.isClosed) reject(new Error("closed"));
      else if (isUrgent || this.pending.size < this.window) start();
      else this.waiting.push({ start, reject });
    });
  }

  fill() {
    while (this.waiting.length && this.pending.size < this.window) this.waiting.shift().start();
  }

  // Says goodbye, waits a little for what must come, closes.
  async leave() {
    if (this.isClosed) return;
    const gone = new Promise((resolve) => this.once("closed", resolve));
    const answered = this.request(this.protocol.goodbye, {}, { isUrgent: true }).catch(() => {});
    await Promise.race([answered, gone, pause(2000)]);
    this.socket.end();
    await Promise.race([gone, pause(1000)]);
    this.socket.destroy();
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref());

function address(text) {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

function connect(text) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(address(text));
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

// Listens and gives the server; `accept` is called with each socket.
function listen(text, accept) {
  return new Promise((resolve, reject) => {
    const server = net.createServer(accept);
    server.once("error", reject);
    server.listen(address(text), () => resolve(server));
  });
}

module.exports = { Link, connect, listen, pause };
