// The page of an evaluation: the browser of items, with two models' answers side by side.
const KINDS = {
  lost: "right → wrong", gained: "wrong → right", never: "stayed wrong", unscorable: "not judged", kept: "stayed right",
};
const ALONE = { wrong: "wrong", unscorable: "not judged", right: "right" };
const RIGHT = 0, WRONG = 1, UNSCORABLE = 2;
const TONES = ["good", "bad", "quiet-text"];
let index;

const other = () => index.models.length > 1 ? +$("m").value || 1 : 0;

const pair = () => other() ? [0, other()] : [0];

function kind(i) {
  const before = index.v[0][i], after = index.v[other()][i];
  if (!other()) return index.verdicts[after];
  if (before === UNSCORABLE || after === UNSCORABLE) return "unscorable";
  if (before === RIGHT) return after === RIGHT ? "kept" : "lost";
  return after === RIGHT ? "gained" : "never";
}

function listed() {
  const suite = $("s").value, wanted = $("t").value, found = [];
  for (let i = 0; i < index.s.length; i++) {
    if ((suite === "" || index.s[i] === +suite) && (wanted === "" || kind(i) === wanted)) found.push(i);
  }
  if ($("o").value) return found;
  const rank = Object.keys(other() ? KINDS : ALONE), ranks = new Map(found.map((i) => [i, rank.indexOf(kind(i))]));
  return found.sort((a, b) => ranks.get(a) - ranks.get(b) || a - b);
}

function answer(i, model, [text, reason, tokens, signs]) {
  const verdict = index.v[model][i];
  const head = make("h4", "", make("bdi", "", dot(model), visible(index.models[model])));
  head.append(make("span", TONES[verdict], verdict === UNSCORABLE ? "not judged" : index.verdicts[verdict]));
  if (text !== null) head.append(make("span", "", `${count(tokens)} tokens`));
  index.signs.forEach((sign, bit) => {
    if (signs >> bit & 1) head.append(make("span", "bad", sign.replace("_", " ")));
  });
  const body = text === null ? make("p", "quiet", "no answer") : said("said", text ? marked(text) : "");
  if (text === "") body.append(make("span", "gap", "nothing"));
  const made = make("div", "version", head, body);
  if (reason && verdict !== RIGHT) made.append(make("p", "quiet why", make("bdi", "", marked(reason))));
  return made;
}

function card(i, [turns, reference, answers]) {
  const what = kind(i);
  const facts = make("div", "facts", make("span", `chip m-${what}`, (other() ? KINDS : ALONE)[what]));
  facts.append(make("bdi", "", visible(index.suites[index.s[i]])), make("span", "", `item ${count(index.i[i] + 1)}`));
  const asked = turns.length ? turns[turns.length - 1][1] : "no prompt";
  const summary = make("summary", "", facts, said("head", excerpt(asked)));
  for (const model of pair()) {
    const line = said("tail", "");
    line.append(dot(model), excerpt(answers[model][0] || (answers[model][0] === null ? "no answer" : "nothing")));
    summary.append(line);
  }
  const made = make("details", "row", summary);
  made.addEventListener("toggle", () => {
    if (!made.open || made.children.length > 1) return;
    made.append(...turns.map(([role, content]) => turn(role, content, marked(content))));
    if (reference) made.append(turn("reference", reference, marked(reference)));
    made.append(make("div", "versions", ...pair().map((model) => answer(i, model, answers[model]))));
  });
  return made;
}

async function startItems() {
  if (!$("filters")) return;
  index = await unpack("index-data");
  const numbered = (names) => names.map((name, number) => [String(number), name]);
  const [first, second, ...more] = index.models;
  fill("m", visible(`${first} → ${second}`), numbered(index.models).slice(2).map(([n, name]) => [n, `${first} → ${name}`]));
  $("m").hidden = !more.length;
  fill("s", "all suites", numbered(index.suites));
  fill("t", "all items", Object.entries(second === undefined ? ALONE : KINDS));
  $("o").replaceChildren(new Option(second === undefined ? "wrong ones first" : "changed ones first", ""), new Option("as given", "given"));
  const texts = ([turns, reference, answers]) =>
    [reference, ...turns.map((one) => one[1]), ...pair().flatMap((model) => [answers[model][0] ?? "", answers[model][1]])];
  await new Browser({
    noun: "items", size: index.s.length, perBlock: index.block, controls: ["m", "s", "t", "o"], found: listed, texts, card,
  }).start();
}

begin(startItems, ["status"]);
