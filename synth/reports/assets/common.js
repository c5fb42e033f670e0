// What the pages share. Texts come from models: they reach the document only as text nodes, and control characters as
// their escapes.
const COLOURS = 8, PAGE_ROWS = 25, KEPT_BLOCKS = 32, SLICE_MS = 30;
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

// The texts of a page lie in compressed blocks, opened as they are needed.

const blocks = new Map();

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

const words = () => $("q").value.toLowerCase().split(/\s+/).filter(Boolean);

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

// What was thought before an answer is folded, what was called is code.
function turn(role, content, body = visible(content)) {
  const text = said(role === "calls" ? "said code" : "said", body);
  if (role !== "thoughts") return make("div", "turn", make("h4", "", visible(role || "no role")), text);
  const folded = make("summary", "", make("h4", "", "thoughts"), make("span", "", `${count(content.length)} characters`));
  return make("details", "turn thoughts", folded, text);
}

const pause = () => new Promise((resolve) => setTimeout(resolve));

// A list that is searched, filtered and turned page by page, in the elements q, status, list and pager. Its state is
// the address's fragment. `controls` are the selects' ids, `found` gives the numbers of what these leave, in order;
// `texts` what of an entry is searched, `card` what is shown of it.
class Browser {
  constructor({ noun, size, perBlock, controls, found, texts, card }) {
    Object.assign(this, { noun, size, perBlock, found, texts, card });
    this.controls = ["q", ...controls];
    this.search = this.page = 0;
    this.section = $("list").closest("section");
  }

  async start() {
    let timer;
    $("q").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => this.apply(0), 150); });
    for (const id of this.controls.slice(1)) $(id).addEventListener("change", () => this.apply(0));
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", () => this.recall());
    if (!this.recall()) await this.apply(0);
  }

  async apply(page) {
    const mine = ++this.search, wanted = words();
    this.page = page;
    this.remember();
    let found = this.found();
    if (wanted.length) {
      const hit = new Uint8Array(this.size), candidates = found;
      const needed = [...new Set(candidates.map((i) => Math.floor(i / this.perBlock)))].sort((a, b) => a - b);
      const mayBe = new Uint8Array(this.size);
      for (const i of candidates) mayBe[i] = 1;
      let pageShown = performance.now(), sliceStart = pageShown;
      for (const [done, number] of needed.entries()) {
        const entries = await block(number);
        for (let j = 0; j < entries.length; j++) {
          const i = number * this.perBlock + j;
          if (mayBe[i]) {
            const text = this.texts(entries[j]).join("\n").toLowerCase();
            if (wanted.every((word) => text.includes(word))) hit[i] = 1;
          }
          if (performance.now() - sliceStart > SLICE_MS) {
            await pause();
            sliceStart = performance.now();
          }
          if (mine !== this.search) return;
        }
        if (performance.now() - pageShown > 250) {
          const progress = `searched ${Math.round(100 * (done + 1) / needed.length)} %`;
          await this.show(candidates.filter((i) => hit[i]), mine, progress);
          if (mine !== this.search) return;
          pageShown = sliceStart = performance.now();
        }
      }
      found = candidates.filter((i) => hit[i]);
    }
    await this.show(found, mine, "");
  }

  async show(found, mine, progress) {
    const pages = Math.max(1, Math.ceil(found.length / PAGE_ROWS));
    if (!progress) this.page = Math.min(this.page, pages - 1);
    const now = found.slice(this.page * PAGE_ROWS, (this.page + 1) * PAGE_ROWS), cards = [];
    for (const i of now) {
      cards.push(this.card(i, (await block(Math.floor(i / this.perBlock)))[i % this.perBlock]));
      if (mine !== this.search) return;
    }
    $("list").replaceChildren(...cards);
    const all = `${count(this.size)} ${this.noun}`;
    $("status").textContent = [found.length === this.size ? all : `${count(found.length)} of ${all}`, progress]
      .filter(Boolean).join(", ");
    $("status").dataset.state = progress ? "searching" : "done";
    pager($("pager"), this.page, pages, (next) => {
      this.apply(next);
      this.section.scrollIntoView();
    });
  }

  remember() {
    const state = new URLSearchParams();
    for (const id of this.controls) if ($(id).value) state.set(id, $(id).value);
    if (this.page) state.set("page", this.page + 1);
    const hash = state.size ? `#${state}` : "";
    if (location.hash.includes("=") || hash) history.replaceState(null, "", hash || `#${this.section.id}`);
  }

  recall() {
    if (!location.hash.includes("=")) return false;
    const state = new URLSearchParams(location.hash.slice(1));
    for (const id of this.controls) $(id).value = state.get(id) ?? "";
    for (const id of this.controls) if ($(id).selectedIndex === -1) $(id).value = "";
    this.apply(Math.max(0, (parseInt(state.get("page"), 10) || 1) - 1));
    this.section.scrollIntoView();
    return true;
  }
}

async function begin(start, places) {
  try {
    await start();
    document.documentElement.dataset.ready = Math.round(performance.now());
  } catch (error) {
    const old = typeof DecompressionStream === "undefined";
    const text = old ? "This browser is too old to unpack the page; all else is here." : `The page is damaged: ${error}`;
    for (const id of places) $(id)?.replaceChildren(make("p", "warning", text));
  }
}
