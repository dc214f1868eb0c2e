"use strict";
// Text as content octets and back, and long text as parts. Codings: 0 ASCII, 8 UCS-2 (as UTF-16BE, so that emoji
// pass), 15 GB18030; 3 Latin-1 and "gsm7" (GSM 03.38, one character an octet) for SMPP.

// GSM 03.38 in the order of its codes; ESC (0x1B) stands as U+001B, behind it the table of the second row.
const GSM =
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
  "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const GSM_ESCAPED = {
  "\f": 0x0a, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2f, "[": 0x3c, "~": 0x3d, "]": 0x3e, "|": 0x40, "€": 0x65,
};

// Node decodes GB18030 and does not encode it: its decoder, asked once for every two-octet code and every four-octet
// code of the Basic Multilingual Plane, gives the table. Codes above that plane are counted, as the standard says.
let gb18030;
function gb18030Table() {
  if (gb18030) return gb18030;
  const codes = [];
  for (let first = 0x81; first <= 0xfe; first++) {
    for (let second = 0x40; second <= 0xfe; second++) if (second !== 0x7f) codes.push([first, second]);
  }
  for (let linear = 0; linear < 39420; linear++) codes.push(fourOctets(0x81, linear));
  const decoded = new TextDecoder("gb18030").decode(Buffer.from(codes.flatMap((code) => [...code, 0x0a]))).split("\n");
  gb18030 = new Map();
  codes.forEach((code, place) => {
    const character = decoded[place];
    if (character.length !== 1 || character === "\ufffd" || gb18030.has(character)) return;
    gb18030.set(character, Buffer.from(code));
  });
  return gb18030;
}

function fourOctets(lead, linear) {
  const [second, third, fourth] = [Math.floor(linear / 1260) % 10, Math.floor(linear / 10) % 126, linear % 10];
  return [lead + Math.floor(linear / 12600), 0x30 + second, 0x81 + third, 0x30 + fourth];
}

function encodeCharacter(character, coding) {
  const code = character.codePointAt(0);
  if (coding === 8) return Buffer.from(character, "utf16le").swap16();
  if (coding === "gsm7") {
    if (character in GSM_ESCAPED) return Buffer.from([0x1b, GSM_ESCAPED[character]]);
    if (GSM.includes(character)) return Buffer.from([GSM.indexOf(character)]);
  } else if (code < 0x80) return Buffer.from([code]);
  else if (coding === 3 && code < 0x100) return Buffer.from([code]);
  else if (coding === 15 && code > 0xffff) return Buffer.from(fourOctets(0x90, code - 0x10000));
  else if (coding === 15 && gb18030Table().has(character)) return gb18030Table().get(character);
  throw new RangeError(`coding ${coding} cannot write ${JSON.stringify(character)}`);
}

const encode = (text, coding) => Buffer.concat([...text].map((character) => encodeCharacter(character, coding)));

// What was meant, as well as can be told: a peer that says ASCII and sends 8-bit octets means GBK.
function decode(octets, coding) {
  if (coding === 8) return new TextDecoder("utf-16be").decode(octets);
  if (coding === 3) return octets.toString("latin1");
  if (coding === 0 || coding === 1 || coding === 15) return new TextDecoder("gb18030").decode(octets);
  if (coding !== "gsm7") return null;
  let text = "";
  for (let at = 0; at < octets.length; at++) {
    if (octets[at] === 0x1b && at + 1 < octets.length) {
      at++;
      text += Object.keys(GSM_ESCAPED).find((character) => GSM_ESCAPED[character] === octets[at]) ?? " ";
    } else text += GSM[octets[at] & 0x7f];
  }
  return text;
}

// The parts of a text: [{content, udh}], one without a header where it fits. No character is cut in two: neither a
// surrogate pair, nor a GSM escape pair, nor a GB18030 character. Seven-bit text: 160 alone, 153 a part; else 140, 134.
function split(text, coding, { reference, wide }) {
  const sevenBit = coding === 0 || coding === "gsm7";
  const characters = [...text].map((character) => encodeCharacter(character, coding));
  const whole = Buffer.concat(characters);
  if (whole.length <= (sevenBit ? 160 : 140)) return [{ content: whole, udh: null }];
  const room = (sevenBit ? 153 : 134) - (wide ? (sevenBit ? 1 : 2) : 0); // a wide header takes an octet more
  const parts = [[]];
  let used = 0;
  for (const octets of characters) {
    if (used + octets.length > room) {
      parts.push([]);
      used = 0;
    }
    parts.at(-1).push(octets);
    used += octets.length;
  }
  return parts.map((octets, place) => {
    const ref = wide ? [0x06, 0x08, 0x04, reference >> 8, reference & 0xff] : [0x05, 0x00, 0x03, reference & 0xff];
    const header = Buffer.from([...ref, parts.length, place + 1]);
    return {
      content: Buffer.concat([header, ...octets]),
      udh: { ref: wide ? reference : reference & 0xff, total: parts.length, part: place + 1 },
    };
  });
}

// {udh, text octets} of a content whose header indicator is set; udh null if it is not about parts.
function splitHeader(content) {
  const size = content.length ? content[0] + 1 : 0;
  if (size > content.length) return { udh: null, rest: content };
  let udh = null;
  for (let at = 1; at + 1 < size; at += 2 + content[at + 1]) {
    const [element, length] = [content[at], content[at + 1]];
    const value = content.subarray(at + 2, at + 2 + length);
    if (element === 0 && value.length === 3) udh = { ref: value[0], total: value[1], part: value[2] };
    if (element === 8 && value.length === 4) udh = { ref: value.readUInt16BE(), total: value[2], part: value[3] };
  }
  return { udh, rest: content.subarray(size) };
}

// How a message is shown: its text without the header, and the header's numbers.
function show(content, coding, udhi) {
  const { udh, rest } = udhi ? splitHeader(content) : { udh: null, rest: content };
  return { text: decode(rest, coding), udh };
}

module.exports = { encode, decode, split, show };
