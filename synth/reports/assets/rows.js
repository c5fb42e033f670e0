// The page of data sets: heat maps, and the browser of rows.
const PAGE_GROUPS = 5, HARD = 2.5, LEVELS = [1.25, 2.5, 5, 20, 100];

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
  span.facts = [version.t[i], logs, kind, version.e?.[i], version.r?.[i]];
  return span;
}

function heatMap(version, at, versions) {
  const alike = versions.filter((other) => other.d === version.d && other.m === version.m);
  const which = alike.length > 1 ? ` (${alike.indexOf(version) + 1})` : "";
  const head = make("h4", "", make("bdi", "", dot(version.d), `${sets[version.d]} · ${version.m}${which}`));
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
  const [text, logs, kind, entropies, ranks] = span.facts;
  const lines = [JSON.stringify(visible(text))], of = (figures, i) => [figures].flat()[i] ?? null;
  [logs].flat().forEach((log, i) => {
    lines.push(log === null ? "not scored" :
      `perplexity ${figure(Math.exp(-log))} · ${log.toFixed(3).replace("-", "−")} nats`);
    const entropy = of(entropies, i);
    if (entropy !== null) lines.push(`rank ${count(of(ranks, i))} · entropy ${entropy.toFixed(3)} nats`);
  });
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
let index, rows;

function filtered() {
  const want = Object.fromEntries(["d", "m", "v", "s"].map((id) => [id, $(id).value]));
  const checks = Object.entries(want).filter(([, value]) => value !== "").map(([id, value]) => [rows[id], +value]);
  const found = [];
  for (let i = 0; i < rows.d.length; i++) if (checks.every(([column, value]) => column[i] === value)) found.push(i);
  const order = ORDERS[$("o").value]?.[1];
  return order ? found.sort((a, b) => order(rows, a, b) || a - b) : found;
}

function card(i, [id, turns, wasCut, reason, chosen, other]) {
  const facts = make("div", "facts", make("bdi", "", dot(rows.d[i]), visible(sets[rows.d[i]])));
  const fact = (text, name = "") => facts.append(make("bdi", name, visible(text)));
  fact(index.methods[rows.m[i]]);
  if (rows.v[i] !== null) fact(index.verdicts[rows.v[i]]);
  if (rows.s[i]) facts.append(make("bdi", "bad", marked("rejected: " + (reason || "no reason given"))));
  fact(rows.t[i] ? `${count(rows.t[i])} tokens` : `${count(rows.n[i])} characters`);
  if (rows.p[i] !== null) fact(`perplexity ${figure(rows.p[i])}`);
  if (id) facts.append(make("bdi", "code", marked(id)));
  const spoken = turns.filter(([role]) => role !== "thoughts");
  let last = spoken.length - 1;
  while (last > 0 && spoken[last][0] !== "assistant" && spoken[last][0] !== "calls") last--;
  if (chosen) last = spoken.length;
  const asked = spoken[last > 0 ? last - 1 : 0]?.[1] ?? "no messages";
  const answered = (chosen ? chosen.find(([role]) => role !== "thoughts") : last > 0 ? spoken[last] : null)?.[1] ?? "";
  const made = make("details", "row", make("summary", "", facts, said("head", excerpt(asked)), said("tail", excerpt(answered))));
  made.addEventListener("toggle", () => {
    if (!made.open || made.children.length > 1) return;
    made.append(...turns.map(([role, content]) => turn(role, content, marked(content))));
    if (chosen) made.append(make("div", "versions", side("chosen", "good", chosen), side("rejected", "bad", other)));
    if (wasCut) made.append(make("p", "quiet", `… cut: ${count(rows.n[i])} characters in all`));
  });
  return made;
}

function side(name, tone, turns) {
  const shown = turns.map(([role, content], i) =>
    i || role === "thoughts" || role === "calls" ? turn(role, content, marked(content)) : said("said", marked(content)));
  if (!turns.length) shown.push(make("p", "quiet", "nothing"));
  return make("div", "version", make("h4", "", make("span", tone, name)), ...shown);
}

async function startRows() {
  if (!$("filters")) return;
  rows = index.rows;
  const numbered = (names) => names.map((name, number) => [String(number), name]);
  fill("d", "all data sets", numbered(sets));
  fill("m", "all methods", numbered(index.methods));
  fill("v", "all verdicts", numbered(index.verdicts));
  fill("s", "accepted and rejected", rows.s.includes(1) && rows.s.includes(0) ? [["0", "accepted"], ["1", "rejected"]] : []);
  const scored = rows.p.some((value) => value !== null);
  const orders = Object.entries(ORDERS).filter(([name]) => scored || !["high", "low"].includes(name));
  $("o").replaceChildren(...orders.map(([value, [text]]) => new Option(text, value)));
  const texts = ([id, turns, , reason, ...sides]) => [id, reason, ...[turns, ...sides].flat().map((one) => one[1])];
  const controls = ["d", "m", "v", "s", "o"];
  await new Browser({
    noun: "rows", size: rows.d.length, perBlock: index.block, controls, found: filtered, texts, card,
  }).start();
}

begin(async () => {
  index = await unpack("index-data");
  sets = index.sets;
  await startHeat();
  await startRows();
}, ["status", "heat"]);
