/* What the pages do in the browser: keys, dialogs, live parts, drafts, copying. Pages work without it, a little slower.
   No value from a message is ever made into markup here: text goes in as text. */
(() => {
  "use strict";
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
  const words = JSON.parse($("#ui-words")?.textContent || "{}");
  const shown = (element) => element.getClientRects().length > 0;
  const store = (kind) => { try { return window[kind]; } catch { return null; } }; // storage can be forbidden

  // ---- toasts
  const TOAST_MS = 6000; // long enough to read two lines twice
  function arm(toast) {
    if (toast.dataset.armed) return;
    toast.dataset.armed = "1";
    if (toast.classList.contains("toast-error")) return; // an error stays until it is read
    let timer = setTimeout(() => toast.remove(), Number(toast.dataset.toast) || TOAST_MS);
    const stop = () => clearTimeout(timer);
    toast.addEventListener("pointerenter", stop);
    toast.addEventListener("focusin", stop);
    toast.addEventListener("pointerleave", () => { timer = setTimeout(() => toast.remove(), TOAST_MS); });
  }
  function say(text, kind = "info") {
    const list = $("#toasts");
    if (!list || !text) return;
    const toast = document.createElement("div");
    toast.className = `toast toast-${kind}`;
    toast.dataset.toast = "";
    const span = document.createElement("span");
    span.className = "toast-text";
    span.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "btn btn-quiet btn-sm";
    close.dataset.dismiss = "";
    close.textContent = words.close || "×";
    toast.append(span, close);
    list.append(toast);
    arm(toast);
  }

  // ---- dialogs, menus, copying: one listener for all, so that fragments need no wiring
  function openDialog(dialog) {
    if (dialog && !dialog.open) {
      if (dialog.id === "keys") listKeys(dialog);
      dialog.showModal();
      $("[autofocus]", dialog)?.focus();
    }
  }
  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-open-dialog], [data-close], [data-dismiss], [data-copy], dialog");
    $$("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
    if (!target) return;
    if (target.dataset.openDialog) {
      target.closest("details.menu")?.removeAttribute("open");
      openDialog(document.getElementById(target.dataset.openDialog));
    } else if ("close" in target.dataset) {
      target.closest("dialog")?.close();
    } else if ("dismiss" in target.dataset) {
      target.closest(".toast, .notice")?.remove();
    } else if (target.dataset.copy !== undefined) {
      navigator.clipboard?.writeText(target.dataset.copy).then(() => say(words.copied, "success"), () => {});
    } else if (target === event.target && target.tagName === "DIALOG") {
      target.close(); // a click on what is behind it
    }
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("details.menu") && event.target.open) $(".menu-panel a, .menu-panel button", event.target)?.focus();
  }, true);

  // ---- theme: at once, and kept by the server
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-theme-form]") && event.submitter) {
      event.preventDefault();
      const theme = event.submitter.value;
      if (theme === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = theme;
      $$("button[name=theme]", form).forEach((b) => b.setAttribute("aria-pressed", String(b.value === theme)));
      const summary = $("summary use", form.closest("details"));
      const chosen = $("use", event.submitter);
      if (summary && chosen) summary.setAttribute("href", chosen.getAttribute("href"));
      form.closest("details").open = false;
      const body = new FormData(form);
      body.set("theme", theme);
      fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
    }
    if (form.matches("[data-forget]")) forgetDrafts();
    if (form.matches("[data-once]")) { // a second click must not send it twice
      $$("button:not([type=button])", form).forEach((b) => setTimeout(() => { b.disabled = true; }, 0));
    }
    if (form.dataset.remember && !form.matches("[hx-post], [hx-put], [hx-patch], [hx-delete], [hx-get]")) store("sessionStorage")?.setItem(SENT, draftKey(form));
  });

  // ---- keys
  const keysOn = () => store("localStorage")?.getItem("mingbai.keys") !== "off";
  const typing = (element) => element.matches?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable=true]");
  let wantsPage = 0;
  function items() {
    const dialog = $("dialog[open]");
    return $$(".row-link, [data-item]", dialog || document).filter(shown);
  }
  function move(step) {
    const list = items();
    if (!list.length) return;
    const here = list.indexOf(document.activeElement);
    const next = here < 0 ? (step > 0 ? 0 : list.length - 1) : Math.min(Math.max(here + step, 0), list.length - 1);
    list[next].focus();
    (list[next].closest("tr, li") || list[next]).scrollIntoView({ block: "nearest" });
  }
  function press(key) {
    const scope = $("dialog[open]") || document;
    const button = $$("[data-key]", scope).find((b) => b.dataset.key === key && shown(b) && !b.disabled);
    if (!button) return false;
    if (button.matches("input, textarea, select")) button.focus(); else button.click();
    return true;
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const menu = $("details.menu[open]");
      if (menu) { menu.open = false; $("summary", menu).focus(); } else if (typing(document.activeElement)) document.activeElement.blur();
      return;
    }
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && event.target.form) {
      event.preventDefault();
      event.target.form.requestSubmit();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target) || !keysOn()) return;
    if (wantsPage && Date.now() - wantsPage < 1500) {
      wantsPage = 0;
      const link = $$("[data-go]").find((a) => a.dataset.go === event.key);
      if (link) { event.preventDefault(); link.click(); return; }
    }
    if (press(event.key)) { event.preventDefault(); return; }
    if ($("dialog[open]") && event.key !== "j" && event.key !== "k") return;
    const acts = {
      j: () => move(1), k: () => move(-1),
      "/": () => { const box = $("[data-search]"); box?.focus(); box?.select(); },
      "?": () => openDialog($("#keys")),
      g: () => { wantsPage = Date.now(); },
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
  function listKeys(dialog) {
    fillKeys($("[data-keys-page]", dialog), $$("[data-key]").filter((b) => !dialog.contains(b)), (b) => [b.dataset.key]);
    fillKeys($("[data-keys-go]", dialog), $$("[data-go]"), (a) => ["g", a.dataset.go]);
    const box = $("[data-keys-switch]", dialog);
    box.checked = keysOn();
    box.onchange = () => store("localStorage")?.setItem("mingbai.keys", box.checked ? "on" : "off");
  }
  function fillKeys(section, elements, keys) {
    const list = $("dl", section);
    const seen = new Set();
    list.replaceChildren();
    for (const element of elements) {
      const name = keys(element).join(" ");
      if (seen.has(name)) continue;
      seen.add(name);
      const term = document.createElement("dt");
      for (const key of keys(element)) {
        const kbd = document.createElement("kbd");
        kbd.textContent = key === " " ? "␣" : key;
        term.append(kbd);
      }
      const meaning = document.createElement("dd");
      const copy = element.cloneNode(true);
      $$("kbd, .count, svg", copy).forEach((part) => part.remove());
      meaning.textContent = element.dataset.keyLabel || element.getAttribute("aria-label") || copy.textContent.trim();
      list.append(term, meaning);
    }
    section.hidden = !seen.size;
  }

  // ---- live parts: the server says that something is new, each part then fetches itself by hx-trigger="live"
  const POLL_MS = 5000;
  const AT_MOST_EACH_MS = 1000;
  const STREAM_AGAIN_MS = 60000; // after a plain refusal; a broken stream the browser mends by itself
  let lastLive = 0, waiting = 0, polling = 0, source = null, streamFrom = 0;
  function live() {
    if (document.hidden || waiting) return;
    waiting = setTimeout(() => {
      waiting = 0;
      lastLive = Date.now();
      // not while somebody reads a table that the new part would close again
      $$("[data-live]").filter((part) => !$("details[open]", part)).forEach((part) => window.htmx?.trigger(part, "live"));
    }, Math.max(0, AT_MOST_EACH_MS - (Date.now() - lastLive)));
  }
  function state(name) {
    $$("[data-live-state]").forEach((label) => {
      label.dataset.state = name;
      const text = $("[data-live-word]", label);
      if (text) text.textContent = words[name] || "";
    });
  }
  function poll(on) {
    clearInterval(polling);
    polling = on ? setInterval(live, POLL_MS) : 0;
  }
  function listen() {
    if (!$("[data-live]") || source || Date.now() < streamFrom || !window.EventSource) return;
    const path = $("[data-live]").dataset.live || "/events/overview";
    source = new EventSource(path);
    source.onopen = () => { poll(false); state("live"); };
    source.onerror = () => {
      state("polling");
      if (!polling) poll(true);
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        streamFrom = Date.now() + STREAM_AGAIN_MS;
      }
    };
    source.addEventListener("live", live);
    source.onmessage = live;
    source.addEventListener("signed-out", () => { source.close(); poll(false); state("off"); say(words.expired, "error"); });
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && $("[data-live]")) { listen(); live(); } });
  window.addEventListener("pagehide", () => { source?.close(); source = null; poll(false); });

  // ---- what was typed and not sent: kept until the server has answered that it has it
  const SENT = "mingbai.sent";
  const draftKey = (form) => `mingbai.draft.${document.body.dataset.user || ""}.${form.dataset.remember}`;
  const draftFields = (form) => [...form.elements].filter((f) => f.name && f.name !== "csrfmiddlewaretoken" && !["password", "hidden", "file", "submit", "button"].includes(f.type));
  function remember(form) {
    const kept = {};
    draftFields(form).forEach((f) => {
      if (f.type === "checkbox" || f.type === "radio") { if (f.checked) (kept[f.name] ||= []).push(f.value); } else kept[f.name] = f.value;
    });
    store("localStorage")?.setItem(draftKey(form), JSON.stringify(kept));
  }
  function recall(form) {
    const text = store("localStorage")?.getItem(draftKey(form));
    if (!text || form.dataset.recalled) return;
    form.dataset.recalled = "1";
    const kept = JSON.parse(text);
    let changed = false;
    draftFields(form).forEach((f) => {
      if (!(f.name in kept)) return;
      if (f.type === "checkbox" || f.type === "radio") f.checked = kept[f.name].includes(f.value);
      else if (f.value !== kept[f.name]) { f.value = kept[f.name]; changed = true; f.dispatchEvent(new Event("input", { bubbles: true })); }
    });
    if (changed) say(words.restored);
  }
  function forgetDrafts() {
    const kept = store("localStorage");
    if (kept) Object.keys(kept).filter((key) => key.startsWith("mingbai.draft.")).forEach((key) => kept.removeItem(key));
  }
  function settleDraft() {
    const key = store("sessionStorage")?.getItem(SENT);
    if (!key) return;
    store("sessionStorage").removeItem(SENT);
    const arrival = performance.getEntriesByType("navigation")[0];
    if (arrival?.type === "navigate" && (arrival.responseStatus || 200) < 400) store("localStorage")?.removeItem(key);
  }
  document.addEventListener("input", (event) => { const form = event.target.form; if (form?.dataset.remember) remember(form); });

  // ---- times grow old while a page is open
  function age() {
    const now = Date.now();
    $$("time[data-relative]").forEach((time) => {
      const seconds = Math.round((now - Date.parse(time.dateTime)) / 1000);
      const far = Math.abs(seconds);
      if (far > 30 * 86400) return;
      const [unit, n] = far < 90 ? ["s", far] : far < 5400 ? ["min", Math.round(far / 60)] : far < 172800 ? ["h", Math.round(far / 3600)] : ["d", Math.round(far / 86400)];
      const span = (words[unit] || "").replace("%(n)s", n);
      time.textContent = seconds >= 0 && seconds < 5 ? words.now : (seconds >= 0 ? words.ago : words.ahead).replace("%(time)s", span);
    });
  }
  setInterval(age, 15000);

  // ---- tables tell a phone's cards what each cell is
  function label(table) {
    const heads = $$("thead th", table).map((th) => th.textContent.trim());
    table.setAttribute("role", "table");
    $$("thead, tbody", table).forEach((part) => part.setAttribute("role", "rowgroup"));
    $$("tr", table).forEach((row) => row.setAttribute("role", "row"));
    $$("thead th", table).forEach((th) => th.setAttribute("role", "columnheader"));
    $$("tbody tr", table).forEach((row) => [...row.children].forEach((cell, i) => {
      cell.setAttribute("role", cell.tagName === "TH" ? "rowheader" : "cell");
      if (heads[i] && cell.dataset.label === undefined) cell.dataset.label = heads[i];
    }));
  }

  // ---- editors: line numbers beside a textarea
  function number(editor) {
    const area = $("textarea", editor), gutter = $(".editor-gutter", editor);
    if (!area || !gutter || gutter.dataset.on) return;
    gutter.dataset.on = "1";
    const draw = () => { gutter.textContent = Array.from({ length: area.value.split("\n").length }, (_, i) => i + 1).join("\n"); };
    area.addEventListener("input", draw);
    area.addEventListener("scroll", () => { gutter.scrollTop = area.scrollTop; });
    draw();
  }

  // ---- what is new on the page, at the start and after each fragment
  function wire(from) {
    const all = (selector) => [...(from.matches?.(selector) ? [from] : []), ...$$(selector, from)];
    all("[data-toast]").forEach(arm);
    all("table.table-cards").forEach(label);
    all(".editor").forEach(number);
    all(".scroll, .table-scroll, .table-wrap, .code").forEach((box) => { // what scrolls can be reached by keyboard
      if ((box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight + 1) && !box.hasAttribute("tabindex")) box.tabIndex = 0;
    });
    all("form[data-remember]").forEach(recall);
    all("#modal > dialog, dialog[data-open]").forEach(openDialog);
    listen();
  }
  document.addEventListener("DOMContentLoaded", () => { settleDraft(); wire(document); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) $$("[data-once] button[disabled]").forEach((b) => { b.disabled = false; }); });
  document.addEventListener("htmx:afterSettle", (event) => wire(event.detail.elt));

  // ---- parts that fetch themselves every few seconds ([data-poll]): what somebody has opened in them stays open
  let opened = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    const part = event.detail.target.closest?.("[data-poll]");
    if (part) opened = $$("details[id][open]", part).map((one) => one.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    opened.forEach((id) => { const one = document.getElementById(id); if (one) one.open = true; });
    opened = [];
  });

  // ---- a box that ticks all boxes of a name in its form
  document.addEventListener("change", (event) => {
    const name = event.target.dataset?.checkAll;
    if (name) $$(`input[type=checkbox][name="${name}"]`, event.target.form).forEach((box) => { box.checked = event.target.checked; });
  });

  // ---- htmx: progress, and what to say when it fails
  let running = 0;
  const quiet = (event) => event.detail.elt.closest?.("[data-live], [data-poll]");
  document.addEventListener("htmx:beforeRequest", (event) => { if (!quiet(event)) $("#loadbar")?.classList.toggle("on", ++running > 0); });
  document.addEventListener("htmx:afterRequest", (event) => { if (!quiet(event)) $("#loadbar")?.classList.toggle("on", (running = Math.max(0, running - 1)) > 0); });
  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.detail.elt;
    if (!form.matches?.("form")) return;
    if (form.dataset.remember && event.detail.successful) store("localStorage")?.removeItem(draftKey(form));
    if ("once" in form.dataset) $$("button[disabled]", form).forEach((b) => { b.disabled = false; });
  });
  document.addEventListener("htmx:beforeSwap", (event) => { // the session ended: a sign-in page is no fragment
    const { pathname } = new URL(event.detail.xhr.responseURL || location.href);
    if (!pathname.startsWith("/accounts/login")) return;
    event.detail.shouldSwap = false;
    if (quiet(event)) { poll(false); state("off"); say(words.expired, "error"); } else location.assign(`/accounts/login/?next=${encodeURIComponent(location.pathname + location.search)}`);
  });
  document.addEventListener("htmx:sendError", (event) => { if (!quiet(event)) say(words.offline, "error"); });
  document.addEventListener("htmx:responseError", (event) => {
    if (quiet(event)) return;
    const code = event.detail.xhr.status;
    say(code === 401 ? words.expired : code === 403 ? words.denied : words.failed, "error");
  });
  document.addEventListener("toast", (event) => say(event.detail.text || event.detail.value, event.detail.kind)); // HX-Trigger: {"toast": {...}}
  document.addEventListener("allauth.error", (event) => { event.preventDefault(); say(words.passkey, "error"); });

  window.mingbai = { say };
})();
