// The rulebook's editor: a textarea that is painted behind its text, so that everything a textarea does stays as it is:
// keyboard, screen readers, undo, input methods. Without this file it is a plain textarea and the page still works.
// Only the lines in view are painted: a rulebook of ten thousand lines costs no more than one of fifty.
"use strict";
(() => {
  const box = document.querySelector(".codebox");
  if (!box) return;
  const area = box.querySelector("textarea"), paint = box.querySelector(".codebox-paint");
  const gutter = box.querySelector(".codebox-gutter"), list = box.querySelector(".codebox-proposals");
  const words = JSON.parse(document.getElementById("code-words").textContent);
  const state = document.getElementById("code-state"), problemList = document.getElementById("code-problems");
  const form = area.form, fields = new Set(words.fields.map((one) => one.name).concat(words.head));
  const files = ["keywords", "keywords_none", "domains", "numbers", "senders", "access_codes", "signatures",
    "imsis", "mscs", "cells", "devices"];
  for (const name of files) fields.add(`${name}_file`);
  const say = (text, values) => text.replace(/%\((\w+)\)s/g, (_, name) => values[name]);
  const make = (tag, name, text) => { const made = document.createElement(tag); if (name) made.className = name; if (text !== undefined) made.textContent = text; return made; };

  // ---- painting
  const strip = make("div"), numbers = make("div");
  paint.append(strip);
  gutter.append(numbers);
  let lines = [], bad = new Map(), inText = [];

  // Whether each line begins within a multi-line text: """ and ''' count where no other text or comment has begun.
  function scan() {
    lines = area.value.split("\n");
    inText = new Array(lines.length);
    let open = "";
    for (let n = 0; n < lines.length; n++) {
      inText[n] = open;
      const line = lines[n];
      if (!open && !line.includes('"""') && !line.includes("'''")) continue;
      for (let at = 0; at < line.length;) {
        if (open) {
          const end = line.indexOf(open, at);
          if (end < 0) break;
          open = ""; at = end + 3;
          continue;
        }
        const three = line.slice(at, at + 3);
        if (three === '"""' || three === "'''") { open = three; at += 3; continue; }
        if (line[at] === "#") break;
        if (line[at] === '"' || line[at] === "'") at = endOfText(line, at);
        else at++;
      }
    }
  }
  function endOfText(line, at) {
    const quote = line[at];
    for (let n = at + 1; n < line.length; n++) {
      if (quote === '"' && line[n] === "\\") n++;
      else if (line[n] === quote) return n + 1;
    }
    return line.length;
  }
  function painted(line, open) {
    const out = make("span", "line");
    const add = (text, name) => { if (text) out.append(name ? make("span", name, text) : text); };
    let at = 0;
    if (open) {
      const end = line.indexOf(open);
      const stop = end < 0 ? line.length : end + 3;
      add(line.slice(0, stop), "tok-text");
      at = stop;
    } else {
      const table = /^\s*\[\[?[^\]"']*\]\]?/.exec(line), key = /^(\s*)([A-Za-z0-9_-]+)(\s*=)/.exec(line);
      if (table && !/^\s*\[\s*$/.test(line)) { add(table[0], "tok-table"); at = table[0].length; }
      else if (key) { add(key[1]); add(key[2], fields.has(key[2]) ? "tok-key" : "tok-unknown"); add(key[3]); at = key[0].length; }
    }
    while (at < line.length) {
      const rest = line.slice(at), first = rest[0];
      if (first === "#") { add(rest, "tok-note"); break; }
      if (first === '"' || first === "'") { const end = endOfText(line, at); add(line.slice(at, end), "tok-text"); at = end; continue; }
      const value = /^(?:true|false|[+-]?\d[\d_.:T+Z-]*)/.exec(rest);
      if (value && !/\w/.test(line[at - 1] || " ")) { add(value[0], "tok-value"); at += value[0].length; continue; }
      const plain = /^[^#"'\d+tf-]+|^./.exec(rest)[0];
      add(plain); at += plain.length;
    }
    if (!line) out.append("\u200b");
    return out;
  }
  let height = 24, pad = 8;
  function draw() {
    const style = getComputedStyle(area);
    height = parseFloat(style.lineHeight) || height; pad = parseFloat(style.paddingTop) || 0;
    const first = Math.max(0, Math.floor((area.scrollTop - pad) / height) - 2);
    const last = Math.min(lines.length, first + Math.ceil(area.clientHeight / height) + 4);
    const here = lineAt(area.selectionStart), shown = [], marks = [];
    for (let n = first; n < last; n++) {
      const line = painted(lines[n], inText[n]), wrong = bad.has(n + 1);
      if (wrong) line.classList.add("is-bad");
      shown.push(line);
      const mark = make("span", wrong ? "is-bad" : n === here ? "is-here" : "", wrong ? `● ${n + 1}` : String(n + 1));
      if (wrong) mark.title = bad.get(n + 1);
      marks.push(mark);
    }
    strip.replaceChildren(...shown);
    numbers.replaceChildren(...marks);
    strip.style.transform = `translate(${-area.scrollLeft}px, ${first * height - area.scrollTop}px)`;
    numbers.style.transform = `translateY(${pad + first * height - area.scrollTop}px)`;
  }
  let waiting = false;
  function later() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  const lineAt = (at) => { let n = 0; for (let i = area.value.indexOf("\n"); i >= 0 && i < at; i = area.value.indexOf("\n", i + 1)) n++; return n; };
  const startOf = (n) => { let at = 0; for (; n > 0; n--) at = area.value.indexOf("\n", at) + 1; return at; };

  // ---- what is wrong
  function show(problems) {
    bad = new Map();
    const rows = problems.map((one) => {
      const text = [one.value && say(words.says.got, one), say(words.says.expected, one)].filter(Boolean).join(", ");
      if (one.line && !bad.has(one.line)) bad.set(one.line, [one.field, text].filter(Boolean).join(": "));
      const row = make("li"), button = make("button", "problem");
      button.type = "button"; button.dataset.line = one.line;
      button.append(make("span", "problem-line", say(words.says.line, one)), " ");
      for (const name of [one.rule, one.field]) if (name) button.append(make("code", "", name), " ");
      button.append(make("span", "", text));
      row.append(button);
      return row;
    });
    problemList.replaceChildren(...rows);
    area.setAttribute("aria-invalid", problems.length ? "true" : "false");
    later();
  }
  let timer = 0, asking = null;
  function check() {
    asking?.abort();
    asking = new AbortController();
    const body = new URLSearchParams({ text: area.value });
    const token = form.elements.csrfmiddlewaretoken.value;
    state.textContent = words.says.checking;
    fetch(box.dataset.check, { method: "POST", body, signal: asking.signal, headers: { "X-CSRFToken": token } })
      .then((answer) => answer.json().catch(() => ({ available: false })))
      .then((found) => {
        if (!found.available) { state.textContent = words.says.unavailable; return; }
        show(found.problems);
        state.textContent = found.valid ? say(words.says.valid, { count: found.rules }) : say(words.says.problems, { count: found.problems.length });
      })
      .catch((error) => { if (error.name !== "AbortError") state.textContent = words.says.unavailable; });
  }
  function go(line) {
    if (!(line > 0)) { area.focus(); return; }
    const at = startOf(line - 1);
    area.focus();
    area.setSelectionRange(at, at);
    area.scrollTop = Math.max(0, (line - 1) * height - area.clientHeight / 3);
    later();
  }
  problemList.addEventListener("click", (event) => { const one = event.target.closest(".problem"); if (one) go(Number(one.dataset.line)); });
  function nextProblem() {
    const here = lineAt(area.selectionStart) + 1, known = [...bad.keys()].sort((a, b) => a - b);
    if (known.length) go(known.find((line) => line > here) ?? known[0]);
  }

  // ---- proposals
  let offered = [], chosen = 0, from = 0;
  const isOpen = () => !list.hidden;
  function close() { list.hidden = true; area.removeAttribute("aria-activedescendant"); }
  function offers(asked) {
    const at = area.selectionStart, start = area.value.lastIndexOf("\n", at - 1) + 1, before = area.value.slice(start, at);
    if (at !== area.selectionEnd) return null;
    const key = /^\s*([A-Za-z0-9_]*)$/.exec(before);
    if (key && !inText[lineAt(at)]) {
      if (!key[1] && !asked) return null;
      const used = usedFields(at);
      const rows = words.fields.filter((one) => !used.has(one.name)).map((one) => ({ label: one.name, help: one.help, text: `${one.name} = ${one.value}`, back: { '""': 1, '[""]': 2, "['']": 2 }[one.value] || 0 }));
      rows.push({ label: "[[rule]]", help: "", text: "[[rule]]\nid = \"\"", back: 1 });
      return { word: key[1], rows };
    }
    const value = /^\s*([A-Za-z0-9_]+)\s*=\s*(?:\[.*?)?(["'])([^"']*)$/.exec(before);
    const bare = /^\s*([A-Za-z0-9_]+)\s*=\s*([a-z]*)$/.exec(before);
    const found = value || bare;
    if (!found || !words.values[found[1]]) return null;
    const word = value ? value[3] : bare[2];
    const isTruth = words.values[found[1]][0] === "true";
    if (!value && !isTruth && !asked) return null;
    const after = area.value[at];
    const rows = words.values[found[1]].map((name) => ({ label: name, help: words.words[`${found[1] === "message_category" ? "category" : found[1]}.${name}`] || "", text: value ? name + (after === value[2] ? "" : value[2]) : isTruth ? name : `"${name}"`, back: 0, step: value && after === value[2] ? 1 : 0 }));
    return { word, rows };
  }
  function usedFields(at) {
    const used = new Set();
    const here = lineAt(at);
    for (let n = here - 1; n >= 0 && !/^\s*\[\[?\w/.test(lines[n]); n--) { const key = /^\s*([A-Za-z0-9_]+)\s*=/.exec(lines[n]); if (key) used.add(key[1]); }
    for (let n = here + 1; n < lines.length && !/^\s*\[\[?\w/.test(lines[n]); n++) { const key = /^\s*([A-Za-z0-9_]+)\s*=/.exec(lines[n]); if (key) used.add(key[1]); }
    return used;
  }
  function propose(asked) {
    const found = offers(asked);
    const word = found ? found.word.toLowerCase() : "";
    offered = found ? found.rows.filter((one) => one.label.toLowerCase().startsWith(word) && (asked || one.label !== found.word)) : [];
    if (!offered.length && found && word) offered = found.rows.filter((one) => one.label.toLowerCase().includes(word) && one.label !== found.word);
    if (!offered.length) { close(); return; }
    offered = offered.slice(0, 60);
    from = area.selectionStart - found.word.length;
    chosen = 0;
    list.replaceChildren(...offered.map((one, n) => {
      const row = make("li");
      row.id = `code-proposal-${n}`; row.setAttribute("role", "option");
      row.append(make("code", "", one.label), make("span", "", one.help));
      row.addEventListener("mousedown", (event) => { event.preventDefault(); accept(n); });
      return row;
    }));
    list.hidden = false;
    place();
    choose(0);
  }
  function place() {
    const at = area.selectionStart, row = lineAt(at), start = area.value.lastIndexOf("\n", at - 1) + 1;
    const ruler = make("span", "", area.value.slice(start, at));
    ruler.style.cssText = "position:absolute;visibility:hidden;white-space:pre";
    strip.append(ruler);
    const left = ruler.getBoundingClientRect().width + parseFloat(getComputedStyle(area).paddingLeft) - area.scrollLeft;
    ruler.remove();
    const top = pad + (row + 1) * height - area.scrollTop;
    const room = box.clientHeight - top;
    list.style.left = `${Math.max(4, Math.min(left, area.clientWidth - list.offsetWidth - 8))}px`;
    list.style.top = room < list.offsetHeight && top > list.offsetHeight + height ? `${top - height - list.offsetHeight}px` : `${top}px`;
  }
  function choose(n) {
    chosen = (n + offered.length) % offered.length;
    [...list.children].forEach((row, i) => row.setAttribute("aria-selected", i === chosen ? "true" : "false"));
    list.children[chosen].scrollIntoView({ block: "nearest" });
    area.setAttribute("aria-activedescendant", list.children[chosen].id);
  }
  function accept(n) {
    const one = offered[n];
    close();
    area.setSelectionRange(from, area.selectionStart);
    insert(one.text);
    const at = area.selectionStart - one.back + (one.step || 0);
    area.setSelectionRange(at, at);
    later();
  }
  // execCommand keeps the browser's own undo; where it is gone, the text goes in without it.
  function insert(text) {
    if (!document.execCommand("insertText", false, text)) {
      area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  function comment() {
    const first = lineAt(area.selectionStart), last = lineAt(area.selectionEnd);
    const some = lines.slice(first, last + 1), isOff = some.every((line) => !line.trim() || line.startsWith("#"));
    const text = some.map((line) => (isOff ? line.replace(/^# ?/, "") : line ? `# ${line}` : line)).join("\n");
    const start = startOf(first);
    area.setSelectionRange(start, start + some.join("\n").length);
    insert(text);
    area.setSelectionRange(start, start + text.length);
  }

  // ---- events
  area.setAttribute("aria-autocomplete", "list");
  area.setAttribute("aria-controls", "code-proposals");
  area.addEventListener("input", (event) => {
    scan(); later();
    clearTimeout(timer);
    timer = setTimeout(check, 400);
    if (!event.isComposing) propose(false);
  });
  area.addEventListener("scroll", () => { later(); if (isOpen()) place(); });
  area.addEventListener("blur", () => close());
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (isOpen()) {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(chosen + (event.key === "ArrowDown" ? 1 : -1)); return; }
      if ((event.key === "Enter" || event.key === "Tab") && !isCommand && !event.shiftKey) { event.preventDefault(); accept(chosen); return; }
      if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); close(); return; }
      if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") close();
    }
    if (isCommand && event.key === " ") { event.preventDefault(); propose(true); }
    else if (isCommand && event.key === "/") { event.preventDefault(); comment(); }
    else if (isCommand && event.key.toLowerCase() === "s") { event.preventDefault(); leaving = true; form.requestSubmit(form.querySelector("[data-save]")); }
    else if (event.key === "F8") { event.preventDefault(); nextProblem(); }
  });
  document.addEventListener("selectionchange", () => { if (document.activeElement === area) later(); });
  new ResizeObserver(later).observe(area);

  // What was typed is not lost by a click elsewhere.
  let leaving = false;
  const saved = area.defaultValue;
  form.addEventListener("submit", () => { leaving = true; });
  window.addEventListener("beforeunload", (event) => { if (!leaving && area.value !== saved) event.preventDefault(); });

  box.classList.add("is-painted");
  scan();
  show(JSON.parse(document.getElementById("code-found").textContent));
})();
