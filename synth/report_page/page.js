"use strict";
// Texts come from models: they reach the document only as text nodes, and control characters as their escapes.
(() => {
  const PAGE_ROWS = 25, PAGE_GROUPS = 5, KEPT_BLOCKS = 32, SLICE_MS = 30;
  const HARD = 2.5, LEVELS = [1.25, 2.5, 5, 20, 100];
  const COLOURS = 8;
  const $ = (id) => document.getElementById(id);
  const count = (value) => value.toLocaleString("en");

  const visible = (text) => text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (sign) => "\\u" + sign.charCodeAt(0).toString(16).padStart(4, "0"));

  function make(tag, name, ...children) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...children);
    return element;
  }

  const dot = (number) => make("i", `dot c${number % COLOURS}`);

  function figure(value) {
    if (value === null) return "–";
    if (value < 10) return value.toFixed(2);
    if (value < 1000) return value.toFixed(1);
    return value < 1e6 ? count(Math.round(value)) : value.toExponential(1);
  }

  async function unpack(id) {
    const letters = atob($(id).textContent);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function pager(place, page, pages, go) {
    place.replaceChildren();
    if (pages < 2) return;
    const button = (text, target) => {
      const made = make("button", "", text);
      made.type = "button";
      made.disabled = target < 0 || target >= pages;
      made.addEventListener("click", () => go(target));
      return made;
    };
    place.append(button("← Back", page - 1), `${count(page + 1)} of ${count(pages)}`, button("Next →", page + 1));
  }

  // Heat maps

  let groups = [], sets = [], groupPage = 0;

  const worst = (logs) => Math.min(...[logs].flat().filter((log) => log !== null));

  function token(version, i) {
    const kind = version.k[i], logs = version.l[i], text = visible(version.t[i]).replaceAll("\n", "↵\n");
    const span = make("span", "t", text);
    if (kind & 4) span.classList.add("special");
    if (logs === null) {
      span.classList.add("u");
    } else {
      const perplexity = Math.exp(-worst(logs));
      span.classList.add("h" + LEVELS.filter((limit) => perplexity > limit).length);
      if (perplexity > HARD) span.classList.add("hard");
      if ((kind & 3) === 2) span.classList.add("masked");
    }
    span.facts = [version.t[i], logs, kind];
    return span;
  }

  function heatMap(version) {
    const head = make("h4", "", make("bdi", "", dot(version.d), `${sets[version.d]} · ${version.m}`));
    head.append(make("span", "", `perplexity ${figure(version.p)}`),
      make("span", "", `${(100 * version.h).toFixed(1)} % hard`), make("span", "", `${count(version.n)} tokens`));
    const body = make("div", "text-tokens");
    body.dir = "auto";
    const lead = make("span", "lead");
    if (version.before) lead.append(make("span", "gap", `… ${count(version.before)} tokens before … `));
    for (let i = 0; i < version.t.length; i++) (i < version.lead ? lead : body).append(token(version, i));
    body.prepend(lead);
    if (version.after) body.append(make("span", "gap", ` … ${count(version.after)} more tokens`));
    return make("div", "version", head, body);
  }

  function showGroups(page) {
    groupPage = page;
    const shown = groups.slice(page * PAGE_GROUPS, (page + 1) * PAGE_GROUPS);
    $("heat").replaceChildren(...shown.map((group) => {
      const asked = make("div", "asked");
      for (const [role, content] of group.v[0].prompt) asked.append(turn(role, content));
      const versions = make("div", "versions", ...group.v.map(heatMap));
      const box = make("article", "group", asked, versions);
      if (group.of > group.v.length) {
        box.append(make("p", "quiet", `${group.v.length} of ${group.of} versions`));
      }
      return box;
    }));
    pager($("heat-pager"), page, Math.ceil(groups.length / PAGE_GROUPS), (next) => {
      showGroups(next);
      $("tokens").scrollIntoView();
    });
  }

  function tell(span) {
    const tip = $("tip");
    document.querySelector(".t.on")?.classList.remove("on");
    tip.hidden = !span;
    if (!span) return;
    span.classList.add("on");
    const [text, logs, kind] = span.facts;
    const lines = [JSON.stringify(visible(text))];
    for (const log of [logs].flat()) {
      lines.push(log === null ? "not scored" :
        `perplexity ${figure(Math.exp(-log))} · ${log.toFixed(3).replace("-", "−")} nats`);
    }
    if ((kind & 3) === 2) lines.push("masked: not trained on");
    tip.textContent = lines.join("\n");
    const at = span.getClientRects()[0], own = tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - own.width - 8));
    const above = at.top - own.height - 6;
    tip.style.transform = `translate(${left}px, ${above < 4 ? at.bottom + 6 : above}px)`;
  }

  async function startHeat() {
    if (!$("heat")) return;
    groups = await unpack("heat-data");
    showGroups(0);
    const over = (event) => tell(event.target.closest?.(".t") ?? null);
    $("heat").addEventListener("pointerover", over);
    $("heat").addEventListener("click", over);
    $("heat").addEventListener("pointerleave", () => tell(null));
    addEventListener("scroll", () => tell(null), { passive: true, capture: true });
    $("lead").addEventListener("change", () => $("heat").classList.toggle("full", $("lead").checked));
  }

  // The browser of rows

  const ORDERS = {
    "": ["as given", null], long: ["longest first", (r, a, b) => r.n[b] - r.n[a]],
    short: ["shortest first", (r, a, b) => r.n[a] - r.n[b]],
    high: ["highest perplexity first", (r, a, b) => (r.p[b] ?? -1) - (r.p[a] ?? -1)],
    low: ["lowest perplexity first", (r, a, b) => (r.p[a] ?? 1e300) - (r.p[b] ?? 1e300)],
  };
  const CONTROLS = ["q", "d", "m", "v", "s", "o"];
  const blocks = new Map();
  let index, rows, size, search = 0, page = 0;

  const pause = () => new Promise((resolve) => setTimeout(resolve));

  async function block(number) {
    const found = blocks.get(number) ?? await unpack(`block-${number}`);
    blocks.delete(number);
    blocks.set(number, found);  // the last used is the last to go
    if (blocks.size > KEPT_BLOCKS) blocks.delete(blocks.keys().next().value);
    return found;
  }

  function fill(id, first, options) {
    $(id).replaceChildren(new Option(first, ""), ...options.map(([value, text]) => new Option(visible(text), value)));
    $(id).hidden = options.length < 2;
  }

  function filtered() {
    const want = Object.fromEntries(["d", "m", "v", "s"].map((id) => [id, $(id).value]));
    const checks = Object.entries(want).filter(([, value]) => value !== "").map(([id, value]) => [rows[id], +value]);
    const found = [];
    for (let i = 0; i < size; i++) if (checks.every(([column, value]) => column[i] === value)) found.push(i);
    const order = ORDERS[$("o").value]?.[1];
    return order ? found.sort((a, b) => order(rows, a, b) || a - b) : found;
  }

  const words = () => $("q").value.toLowerCase().split(/\s+/).filter(Boolean);

  function matches([id, turns, , reason], wanted) {
    const text = [id, reason, ...turns.map((one) => one[1])].join("\n").toLowerCase();
    return wanted.every((word) => text.includes(word));
  }

  async function apply(newPage) {
    const mine = ++search, wanted = words();
    page = newPage;
    remember();
    let found = filtered();
    if (wanted.length) {
      const hit = new Uint8Array(size), candidates = found;
      const needed = [...new Set(candidates.map((i) => Math.floor(i / index.block)))].sort((a, b) => a - b);
      const mayBe = new Uint8Array(size);
      for (const i of candidates) mayBe[i] = 1;
      let pageShown = performance.now(), sliceStart = pageShown;
      for (const [done, number] of needed.entries()) {
        const texts = await block(number);
        for (let j = 0; j < texts.length; j++) {
          const i = number * index.block + j;
          if (mayBe[i] && matches(texts[j], wanted)) hit[i] = 1;
          if (performance.now() - sliceStart > SLICE_MS) {
            await pause();
            sliceStart = performance.now();
          }
          if (mine !== search) return;
        }
        if (performance.now() - pageShown > 250) {
          await show(candidates.filter((i) => hit[i]), mine, `searched ${Math.round(100 * (done + 1) / needed.length)} %`);
          if (mine !== search) return;
          pageShown = sliceStart = performance.now();
        }
      }
      found = candidates.filter((i) => hit[i]);
    }
    await show(found, mine, "");
  }

  async function show(found, mine, progress) {
    const pages = Math.max(1, Math.ceil(found.length / PAGE_ROWS));
    if (!progress) page = Math.min(page, pages - 1);
    const now = found.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS), cards = [];
    for (const i of now) {
      cards.push(card(i, (await block(Math.floor(i / index.block)))[i % index.block]));
      if (mine !== search) return;
    }
    $("list").replaceChildren(...cards);
    $("status").textContent = [
      found.length === size ? `${count(size)} rows` : `${count(found.length)} of ${count(size)} rows`, progress,
    ].filter(Boolean).join(", ");
    $("status").dataset.state = progress ? "searching" : "done";
    pager($("pager"), page, pages, (next) => {
      apply(next);
      $("rows").scrollIntoView();
    });
  }

  function pattern() {
    const safe = words().map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return safe.length ? new RegExp(safe.join("|"), "gi") : null;
  }

  function marked(text) {
    const wanted = pattern(), found = document.createDocumentFragment();
    let end = 0;
    for (const match of wanted ? text.matchAll(wanted) : []) {
      found.append(visible(text.slice(end, match.index)), make("mark", "", visible(match[0])));
      end = match.index + match[0].length;
    }
    found.append(visible(text.slice(end)));
    return found;
  }

  function excerpt(text) {
    const at = pattern() ? text.search(pattern()) : -1;
    const start = at > 120 ? at - 60 : 0;
    return marked((start ? "…" : "") + text.slice(start, start + 320).replace(/\s+/g, " "));
  }

  function said(name, text) {
    const made = make("div", name, text);
    made.dir = "auto";
    return made;
  }

  function turn(role, content, body = visible(content)) {
    return make("div", "turn", make("h4", "", visible(role || "no role")), said("said", body));
  }

  function card(i, [id, turns, wasCut, reason]) {
    const facts = make("div", "facts", make("bdi", "", dot(rows.d[i]), visible(sets[rows.d[i]])));
    const fact = (text, name = "") => facts.append(make("bdi", name, visible(text)));
    fact(index.methods[rows.m[i]]);
    if (rows.v[i] !== null) fact(index.verdicts[rows.v[i]]);
    if (rows.s[i]) facts.append(make("bdi", "bad", marked("rejected: " + (reason || "no reason given"))));
    fact(rows.t[i] ? `${count(rows.t[i])} tokens` : `${count(rows.n[i])} characters`);
    if (rows.p[i] !== null) fact(`perplexity ${figure(rows.p[i])}`);
    if (id) facts.append(make("bdi", "code", marked(id)));
    let last = turns.length - 1;
    while (last > 0 && turns[last][0] !== "assistant") last--;
    const asked = turns[last > 0 ? last - 1 : 0]?.[1] ?? "no messages", answered = last > 0 ? turns[last][1] : "";
    const made = make("details", "row", make("summary", "", facts, said("head", excerpt(asked)), said("tail", excerpt(answered))));
    made.addEventListener("toggle", () => {
      if (!made.open || made.children.length > 1) return;
      made.append(...turns.map(([role, content]) => turn(role, content, marked(content))));
      if (wasCut) made.append(make("p", "quiet", `… cut: ${count(rows.n[i])} characters in all`));
    });
    return made;
  }

  function remember() {
    const state = new URLSearchParams();
    for (const id of CONTROLS) if ($(id).value) state.set(id, $(id).value);
    if (page) state.set("page", page + 1);
    const hash = state.size ? `#${state}` : "";
    if (location.hash.includes("=") || hash) history.replaceState(null, "", hash || "#rows");
  }

  function recall() {
    if (!location.hash.includes("=")) return false;
    const state = new URLSearchParams(location.hash.slice(1));
    for (const id of CONTROLS) $(id).value = state.get(id) ?? "";
    for (const id of CONTROLS) if ($(id).selectedIndex === -1) $(id).value = "";
    apply(Math.max(0, (parseInt(state.get("page"), 10) || 1) - 1));
    return true;
  }

  async function startRows() {
    if (!$("filters")) return;
    rows = index.rows;
    size = rows.d.length;
    const numbered = (names) => names.map((name, number) => [String(number), name]);
    fill("d", "all data sets", numbered(sets));
    fill("m", "all methods", numbered(index.methods));
    fill("v", "all verdicts", numbered(index.verdicts));
    fill("s", "accepted and rejected", rows.s.includes(1) && rows.s.includes(0) ? [["0", "accepted"], ["1", "rejected"]] : []);
    const scored = rows.p.some((value) => value !== null);
    const orders = Object.entries(ORDERS).filter(([name]) => scored || !["high", "low"].includes(name));
    $("o").replaceChildren(...orders.map(([value, [text]]) => new Option(text, value)));
    let timer;
    $("q").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => apply(0), 150); });
    for (const id of CONTROLS.slice(1)) $(id).addEventListener("change", () => apply(0));
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", recall);
    if (recall()) $("rows").scrollIntoView();
    else await apply(0);
  }

  async function start() {
    index = await unpack("index-data");
    sets = index.sets;
    await startHeat();
    await startRows();
    document.documentElement.dataset.ready = Math.round(performance.now());
  }

  start().catch((error) => {
    const old = typeof DecompressionStream === "undefined";
    const text = old ? "This browser is too old to unpack the page; all else is here." : `The page is damaged: ${error}`;
    for (const id of ["status", "heat"]) $(id)?.replaceChildren(make("p", "warning", text));
  });
})();
