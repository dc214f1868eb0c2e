"use strict";
// Octets of every PDU, from layouts written as text: `name:kind[width][*count]`, in the order of the wire.
//   u1 u2 u4     unsigned, big-endian            s21  fixed width, left-aligned, padded with NULs
//   b8           raw octets (hex when shown)     c16  ends with a NUL, at most 16 octets with it
//   b*n          as many octets as field n says  s21*n  a list of as many as field n says
//   tlvs         tag u2, length u2, value, to the end
// A field that counts another is computed when writing. ` | ` separates forms of one PDU that peers use: the first is
// written, and the first that fits without an octet left over is read.
// It opens no socket and reads no clock.

const crypto = require("node:crypto");

class WireError extends Error {}

function compile(text) {
  const fields = text
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => {
      const match = /^(\w+):(tlvs|[usbc])(\d*)(?:\*(\w+))?$/.exec(word);
      if (!match) throw new Error(`layout word ${word}`);
      return { name: match[1], kind: match[2], width: Number(match[3]), count: match[4] };
    });
  for (const field of fields) {
    if (field.count) fields.find((other) => other.name === field.count).counts = field.name;
  }
  return fields;
}

const layout = (text) => text.split("|").map(compile);

// ---------------------------------------------------------------------------------------------------------- fields
function fixed(value, width, name) {
  const octets = Buffer.isBuffer(value) ? value : Buffer.from(String(value), "utf8");
  if (octets.length > width) throw new WireError(`${name}: ${octets.length} octets, at most ${width}`);
  return Buffer.concat([octets, Buffer.alloc(width - octets.length)]);
}

function untilNul(octets) {
  const end = octets.indexOf(0);
  return octets.subarray(0, end < 0 ? octets.length : end).toString("utf8");
}

function unsigned(value, width, name) {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * width)) {
    throw new WireError(`${name}: ${value}, expected 0..${2 ** (8 * width) - 1}`);
  }
  const octets = Buffer.alloc(width);
  octets.writeUIntBE(value, 0, width);
  return octets;
}

function writeField(field, values) {
  const value = values[field.name];
  if (field.counts && value === undefined) {
    return unsigned((values[field.counts] ?? []).length, field.width, field.name);
  }
  switch (field.kind) {
    case "u":
      return unsigned(value ?? 0, field.width, field.name);
    case "s":
      if (field.count) return Buffer.concat((value ?? []).map((one) => fixed(one, field.width, field.name)));
      return fixed(value ?? "", field.width, field.name);
    case "b":
      if (field.count) return value ?? Buffer.alloc(0);
      return fixed(typeof value === "string" ? Buffer.from(value, "hex") : (value ?? ""), field.width, field.name);
    case "c":
      return Buffer.concat([fixed(value ?? "", field.width - 1, field.name).filter((octet) => octet), Buffer.alloc(1)]);
    default: // tlvs
      return Buffer.concat(
        (value ?? []).map(({ tag, value: octets }) =>
          Buffer.concat([unsigned(tag, 2, "tag"), unsigned(octets.length, 2, "length"), octets]),
        ),
      );
  }
}

function readFields(fields, body) {
  const values = {};
  let at = 0;
  const take = (width, name) => {
    if (at + width > body.length) throw new WireError(`${name}: needs ${width} octets, ${body.length - at} are left`);
    at += width;
    return body.subarray(at - width, at);
  };
  for (const { name, kind, width, count } of fields) {
    if (kind === "u") values[name] = take(width, name).readUIntBE(0, width);
    else if (kind === "s" && count) {
      values[name] = Array.from({ length: values[count] }, () => untilNul(take(width, name)));
    } else if (kind === "s") values[name] = untilNul(take(width, name));
    else if (kind === "b") values[name] = take(count ? values[count] : width, name);
    else if (kind === "c") {
      const end = body.subarray(at, at + width).indexOf(0);
      if (end < 0) throw new WireError(`${name}: no NUL within ${width} octets`);
      values[name] = take(end + 1, name).subarray(0, end).toString("utf8");
    } else {
      values[name] = [];
      while (at < body.length) {
        const tag = take(2, "tag").readUInt16BE();
        values[name].push({ tag, value: take(take(2, "length").readUInt16BE(), `TLV ${tag}`) });
      }
    }
  }
  if (at < body.length) throw new WireError(`${body.length - at} octets left over`);
  return values;
}

const write = (forms, values) => Buffer.concat(forms[0].map((field) => writeField(field, values)));

function read(forms, body) {
  let reason;
  for (const fields of forms) {
    try {
      return readFields(fields, body);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      reason = reason ?? error;
    }
  }
  throw reason;
}

// ------------------------------------------------------------------------------------------------------------ PDUs
// One protocol in one version. `header` names what stands between length and body; `commands` is
// name -> [id, layout of the request, layout of the answer], with null where there is no answer.
class Dialect {
  constructor(name, { header, cap, suffix }, commands) {
    Object.assign(this, { name, cap, suffix });
    this.header = compile(`length:u4 command:u4 ${header}`);
    this.headerSize = this.header.reduce((sum, field) => sum + field.width, 0);
    this.byName = new Map();
    this.byId = new Map();
    for (const [command, [id, request, answer]] of Object.entries(commands)) {
      this.add(command, id, request);
      if (answer !== null) this.add(command + suffix, id + 0x80000000, answer);
    }
  }

  add(name, id, text) {
    const row = { name, id, forms: layout(text) };
    this.byName.set(name, row);
    this.byId.set(id, row);
  }

  // sequence: a number, or in SGIP three.
  encode({ name, sequence, status = 0, fields = {} }) {
    const { id, forms } = this.byName.get(name);
    // SMPP: an answer that refuses may come without a body.
    const body = status && name.endsWith("_resp") ? Buffer.alloc(0) : write(forms, fields);
    const [sequence1, sequence2, sequence3] = [sequence].flat();
    const values = { length: this.headerSize + body.length, command: id, status, sequence1, sequence2, sequence3 };
    return Buffer.concat([write([this.header], values), body]);
  }

  // Gives name null for a command that the tables do not have.
  decode(frame) {
    const head = readFields(this.header, frame.subarray(0, this.headerSize));
    const parts = [head.sequence1, head.sequence2, head.sequence3].filter((part) => part !== undefined);
    const row = this.byId.get(head.command);
    return {
      name: row ? row.name : null,
      command: head.command,
      sequence: parts.length === 1 ? parts[0] : parts,
      status: head.status ?? 0,
      fields: row ? read(row.forms, frame.subarray(this.headerSize)) : {},
    };
  }
}

// Cuts a stream into frames. A length below the header or above the cap cannot be mended: WireError.
class Framer {
  constructor(dialect) {
    this.dialect = dialect;
    this.kept = Buffer.alloc(0);
  }

  push(chunk) {
    this.kept = Buffer.concat([this.kept, chunk]);
    const frames = [];
    while (this.kept.length >= 4) {
      const length = this.kept.readUInt32BE();
      if (length < this.dialect.headerSize || length > this.dialect.cap) throw new WireError(`length ${length}`);
      if (this.kept.length < length) break;
      frames.push(this.kept.subarray(0, length));
      this.kept = this.kept.subarray(length);
    }
    return frames;
  }
}

// --------------------------------------------------------------------------------------------------- small matters
function md5(...parts) {
  return crypto.createHash("md5").update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest();
}

const digits = (number, width) => String(number).padStart(width, "0");

// "MMDDHHMMSS", the only form of time that logins and sequences know: no year, no zone.
function clockDigits(now) {
  return [now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes(), now.getSeconds()]
    .map((part) => digits(part, 2))
    .join("");
}

// "YYMMDDhhmm", as reports give their times.
const reportTime = (now) => digits(now.getFullYear() % 100, 2) + clockDigits(now).slice(0, 8);

// Values as JSON shows them: octets as hex.
function plain(value) {
  if (Buffer.isBuffer(value)) return value.toString("hex");
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}

module.exports = {
  WireError,
  Dialect,
  Framer,
  layout,
  read,
  write,
  unsigned,
  md5,
  digits,
  clockDigits,
  reportTime,
  plain,
};
