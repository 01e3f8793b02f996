"use strict";
// The explorer's page. Every text of the data reaches the document as a text node, never as HTML.

const $ = (id) => document.getElementById(id);
const D = JSON.parse($("data").textContent);
const { pairs: P, media: M, notes: NOTES } = D;
const N = P.length;
const R = Object.fromEntries(Object.entries(D.rows).map(
  ([name, column]) => [name, Array.isArray(column) ? column : column.codes.map((code) => column.values[code])],
)); // the columns of the judgements
const HEIGHT = 76; // px of a row of the list, as in the style

const STATUS = {
  ok: "a verdict that could be read", empty: "the judge wrote nothing", cut: "cut at the limit of tokens",
  refused: "the server refused to answer", filtered: "a content filter took the answer", no_json: "not one whole JSON object",
  not_an_object: "JSON, but not an object", wrong_keys: "keys are missing, or there are others",
  bad_score: "a score is no whole number from 0 to 10", bad_better: "“better” names no side",
  no_rationale: "the rationale is missing", no_verdict: "no verdict tag", several_verdicts: "several verdicts at once",
  verdict_mismatch: "the verdict tag contradicts “better”", score_mismatch: "the scores contradict the verdict",
  unclosed: "a tag is not closed", stray_text: "text outside of the tags", wrong_count: "another number of criteria than asked for",
};
const OUTCOME = {
  right: ["✓", "right in every order"], mixed: ["~", "right in one order only"], wrong: ["✗", "wrong in every order"],
  unknown: ["·", "no gold label"],
};
const SORTS = { file: "as in the files", near: "gold margin, small first", far: "gold margin, large first", flips: "most flips first" };

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// ---- what the rows say of each pair, worked out once

const JUDGES = (() => {
  const files = (name) => new Set(D.judges.filter((judge) => judge[1] === name).map((judge) => judge[0])).size;
  return D.judges.map(([file, name, seed]) => {
    const seeds = D.judges.filter((judge) => judge[1] === name && judge[0] === file).length;
    const label = name + (seeds > 1 ? `, seed ${seed}` : "") + (files(name) > 1 ? ` (${file})` : "");
    return { file, name, seed, label };
  });
})();

const start = new Int32Array(N + 1); // the rows of pair p are start[p] .. start[p + 1] - 1
for (const pair of R.pair) start[pair + 1] += 1;
for (let p = 0; p < N; p += 1) start[p + 1] += start[p];

const CASES = []; // CASES[pair]: what each judge made of it, in all orders that it saw
for (let p = 0; p < N; p += 1) {
  const cases = [];
  for (let row = start[p]; row < start[p + 1]; row += 1) {
    let one = cases[cases.length - 1];
    if (!one || one.judge !== R.judge[row]) cases.push((one = { judge: R.judge[row], rows: [] }));
    one.rows.push(row);
  }
  for (const one of cases) {
    const valid = one.rows.filter((row) => R.status[row] === "ok");
    const right = valid.filter((row) => R.verdict[row] === P[p].label).length;
    one.outcome = !P[p].label ? "unknown" : right === one.rows.length ? "right" : right ? "mixed" : "wrong";
    one.flips = valid.length === 2 && one.rows.length === 2 && R.verdict[valid[0]] !== R.verdict[valid[1]];
    one.compared = valid.length === 2 && one.rows.length === 2;
    one.invalid = valid.length < one.rows.length;
    one.tie = valid.some((row) => R.verdict[row] === "tie");
  }
  CASES.push(cases);
}

const sidesOf = (p) => [P[p].prompt || [], P[p].response_a || [], P[p].response_b || []];
const MODALITY = CASES.map((_, p) => {
  if (!P[p].prompt) return ["not in the files"];
  const kinds = new Set(sidesOf(p).flat().map((part) => part.type));
  kinds.delete("text");
  return kinds.size ? [...kinds] : ["text only"];
});

// ---- filters

const EMPTY = {
  file: "", judge: "", flip: "", outcome: "", status: "", wrong: "", right: "", modality: "", task: "", set: "", margin: "", tie: "",
  q: "", sort: "file", pair: "",
};
const FILTERS = Object.keys(EMPTY).filter((key) => !["sort", "pair"].includes(key));
let state = { ...EMPTY };
let matches = null; // for a search: whether each text of the judges holds it
let shown = []; // the pairs that pass, sorted
let current = -1;
let counts = {};

function judgeOf(name, file = "") { // by its label, else by its name, in a file where one is named
  const found = JUDGES.findIndex((judge) => judge.label === name);
  return found >= 0 ? found : JUDGES.findIndex((judge) => judge.name === name && (!file || judge.file === file));
}

let chosen = -1; // the judge that order, outcome, status and ties are about; -1: any
const casesOf = (p) => (chosen < 0 ? CASES[p] : CASES[p].filter((one) => one.judge === chosen));
let contrast = [-1, -1];

function marginOf(p) {
  const margin = P[p].margin;
  return typeof margin === "number" ? [margin <= D.hard ? "hard" : "easy"] : ["none"];
}

function inRange(p) {
  const [low, high] = state.margin.split("..").map((word) => (word === "" ? null : Number(word)));
  const margin = P[p].margin;
  return typeof margin === "number" && (low === null || margin >= low) && (high === null || margin <= high);
}

// A facet: its heading, the values that a pair has (`about`: by the chosen judge), and the words for a value. One value
// of each can be chosen.
const FACETS = [
  { key: "file", title: "Stage or file", values: (p) => CASES[p].map((one) => JUDGES[one.judge].file) },
  { key: "judge", title: "Judge", values: (p) => CASES[p].map((one) => JUDGES[one.judge].label) },
  { key: "flip", about: true, title: "Order", words: { flipped: "flipped by order", same: "same in both" },
    values: (p) => casesOf(p).filter((one) => one.compared).map((one) => (one.flips ? "flipped" : "same")) },
  { key: "outcome", about: true, title: "Outcome",
    words: { right: "✓ right", mixed: "~ right in one", wrong: "✗ wrong", unknown: "no gold label" },
    values: (p) => casesOf(p).map((one) => one.outcome) },
  { key: "status", about: true, title: "Status", words: { invalid: "any invalid" }, first: ["invalid", "ok"],
    values: (p) => casesOf(p).flatMap((one) => [one.invalid ? "invalid" : [], one.rows.map((row) => R.status[row])].flat()) },
  { key: "modality", title: "Modality", values: (p) => MODALITY[p] },
  { key: "task", title: "Task", values: (p) => [P[p].task] },
  { key: "set", title: "Split or benchmark", values: (p) => (P[p].set ? [P[p].set] : []) },
  { key: "margin", title: "Gold margin",
    words: { hard: `hard: at most ${D.hard}`, easy: `easy: more than ${D.hard}`, none: "no margin" }, first: ["hard", "easy", "none"],
    values: marginOf },
  { key: "tie", about: true, title: "Ties", words: { gold: "gold label is a tie", judged: "a judge says tie" }, first: ["gold", "judged"],
    values: (p) => [...(P[p].label === "tie" ? ["gold"] : []), ...(casesOf(p).some((one) => one.tie) ? ["judged"] : [])] },
];
const FACET = Object.fromEntries(FACETS.map((facet) => [facet.key, facet]));
const nameOf = (facet, value) => (facet.words && facet.words[value]) || value;

const KNOWN = new Map();
function valuesOf(facet) { // of every pair, worked out once
  const key = facet.about ? `${facet.key} ${chosen}` : facet.key;
  const once = (values) => (values.length < 2 ? values : [...new Set(values)]);
  if (!KNOWN.has(key)) KNOWN.set(key, CASES.map((_, p) => once(facet.values(p))));
  return KNOWN.get(key);
}

function passes(facet, values, p) {
  const wanted = state[facet.key];
  return wanted === "" || values.includes(wanted) || (facet.key === "margin" && wanted.includes("..") && inRange(p));
}

function contrasts(p) {
  const of = (judge) => (CASES[p].find((one) => one.judge === judge) || {}).outcome;
  return (contrast[0] < 0 || of(contrast[0]) === "wrong") && (contrast[1] < 0 || of(contrast[1]) === "right");
}

function found(p, words) {
  if (!matches) return true;
  const has = (string) => string != null && string.toLowerCase().includes(words);
  if (has(P[p].id) || has(P[p].criterion) || sidesOf(p).some((parts) => parts.some((part) => has(part.text)))) return true;
  for (let row = start[p]; row < start[p + 1]; row += 1) if (matches[D.rows.raw.codes[row]]) return true;
  return false;
}

function compute() {
  chosen = state.judge ? judgeOf(state.judge) : -1;
  contrast = [state.wrong ? judgeOf(state.wrong) : -1, state.right ? judgeOf(state.right) : -1];
  const words = state.q.toLowerCase();
  matches = words ? D.rows.raw.values.map((string) => string.toLowerCase().includes(words)) : null;
  counts = Object.fromEntries(FACETS.map((facet) => [facet.key, { all: 0, by: new Map() }]));
  const tallies = FACETS.map((facet) => counts[facet.key]);
  counts.contrast = { all: 0, n: 0 };
  shown = [];
  const known = FACETS.map(valuesOf);
  const fails = FACETS.map(() => 0);
  for (let p = 0; p < N; p += 1) {
    const other = contrasts(p) ? 0 : 1;
    let sum = found(p, words) ? 0 : 1; // how many filters the pair fails, the contrast aside
    for (let i = 0; i < FACETS.length; i += 1) {
      fails[i] = passes(FACETS[i], known[i][p], p) ? 0 : 1;
      sum += fails[i];
    }
    if (sum + other === 0) shown.push(p);
    if (sum === 0) {
      counts.contrast.all += 1;
      counts.contrast.n += 1 - other;
    }
    for (let i = 0; i < FACETS.length; i += 1) {
      if (sum + other - fails[i] > 0) continue; // counted among the pairs that all other filters leave
      const { by } = tallies[i];
      tallies[i].all += 1;
      for (const value of known[i][p]) by.set(value, (by.get(value) || 0) + 1);
    }
  }
  const margin = (p, none) => (typeof P[p].margin === "number" ? P[p].margin : none);
  const flips = (p) => CASES[p].filter((one) => one.flips).length;
  if (state.sort === "near") shown.sort((a, b) => margin(a, Infinity) - margin(b, Infinity) || a - b);
  if (state.sort === "far") shown.sort((a, b) => margin(b, -Infinity) - margin(a, -Infinity) || a - b);
  if (state.sort === "flips") shown.sort((a, b) => flips(b) - flips(a) || a - b);
}

const share = (n, all) => (all ? `${((100 * n) / all).toFixed(n && n < all / 100 ? 1 : 0)} %` : "–");
const whole = (n) => n.toLocaleString("en");

// ---- the address: #pair=...&judge=...&status=invalid

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const next = { ...EMPTY }, unknown = [];
  for (const [key, value] of given) {
    if (!(key in EMPTY)) unknown.push(`there is no filter “${key}”`);
    else next[key] = value;
  }
  if (next.flip === "1" || next.flip === "true") next.flip = "flipped";
  for (const key of ["judge", "wrong", "right"]) {
    if (!next[key]) continue;
    const index = judgeOf(next[key], next.file);
    if (index < 0) unknown.push(`no judge is called “${next[key]}”`);
    next[key] = index < 0 ? "" : JUDGES[index].label;
  }
  if (!(next.sort in SORTS)) next.sort = "file";
  if (next.pair && !PAIR.has(next.pair)) unknown.push(`no pair is called “${next.pair}”`);
  state = next;
  document.body.classList.toggle("reading", next.pair !== ""); // on a narrow screen: the pair instead of the list
  say(unknown.length ? `The address of this page is not all known here: ${unknown.join("; ")}.` : "");
  $("search").value = state.q;
  $("sort").value = state.sort;
  refresh(false);
}

function address() {
  const kept = Object.entries(state).filter(([key, value]) => value !== "" && value !== EMPTY[key]);
  return kept.length ? `#${new URLSearchParams(kept)}` : "#";
}

function writeAddress() {
  if (location.hash !== address()) history.replaceState(null, "", address());
}

function say(words) {
  $("said").textContent = words;
  $("said").hidden = !words;
}

const PAIR = new Map(P.map((pair, p) => [pair.id, p]));

// ---- drawing

function refresh(moved = true) {
  compute();
  const wanted = PAIR.get(state.pair);
  if (wanted === undefined || (moved && !shown.includes(wanted))) current = shown.length ? shown[0] : -1;
  else current = wanted;
  state.pair = current >= 0 ? P[current].id : "";
  $("count").replaceChildren(h("b", null, whole(shown.length)), ` of ${whole(N)} pairs · ${share(shown.length, N)}`);
  drawActive();
  drawFilters();
  drawRows(true);
  drawDetail();
  writeAddress();
}

function set(changes) {
  Object.assign(state, changes);
  refresh();
}

function drawActive() {
  const words = { q: (v) => `“${v}”`, wrong: (v) => `${v} wrong`, right: (v) => `${v} right` };
  const active = FILTERS.filter((key) => state[key]);
  const chips = active.map((key) => {
    const value = words[key] ? words[key](state[key]) : nameOf(FACET[key], state[key]).replace("..", " to ");
    return h("button", { type: "button", "aria-label": `Remove the filter ${value}`, onclick: () => clear([key]) }, value);
  });
  const all = h("button", { type: "button", class: "all", onclick: () => clear(active) }, "clear all");
  $("active").replaceChildren(...chips, ...(chips.length > 1 ? [all] : []));
}

function clear(keys) {
  for (const key of keys) state[key] = "";
  $("search").value = state.q;
  refresh();
}

function optionsOf(facet) {
  const values = new Set([...(facet.first || Object.keys(facet.words || {})), ...ALL[facet.key]]);
  return [...values].filter((value) => ALL[facet.key].has(value));
}

function drawFilters() {
  const focus = document.activeElement && document.activeElement.dataset.focus;
  const select = (key, label, names) => h(
    "select", { "aria-label": label, "data-focus": key, onchange: (event) => set({ [key]: event.target.value }) },
    names.map(([value, words]) => {
      const option = h("option", { value }, words);
      option.selected = value === state[key];
      return option;
    }),
  );
  const judges = JUDGES.map((judge) => judge.label);
  const tally = (key, value) => {
    const { all, by } = counts[key], n = by.get(value) || 0;
    return `${whole(n)} · ${share(n, all)}`;
  };
  const blocks = FACETS.map((facet) => {
    if (facet.key === "judge") {
      const names = [["", "any judge"], ...judges.map((name) => [name, `${name} · ${whole(counts.judge.by.get(name) || 0)}`])];
      return [fieldset("Judge", select("judge", "Judge that the filters are about", names)), contrastBlock(select, judges)];
    }
    const values = optionsOf(facet);
    if (values.length < 2 && !["flip", "tie", "status"].includes(facet.key) && !state[facet.key]) return null;
    if (!values.length) return null;
    const buttons = values.map((value) => {
      const on = state[facet.key] === value;
      const explained = { status: STATUS[value], outcome: (OUTCOME[value] || [])[1] }[facet.key];
      return h(
        "button",
        { type: "button", class: counts[facet.key].by.get(value) ? "option" : "option none", "aria-pressed": String(on),
          title: explained, "data-focus": `${facet.key} ${value}`, onclick: () => set({ [facet.key]: on ? "" : value }) },
        h("span", { class: "name" }, nameOf(facet, value)), h("span", { class: "n" }, tally(facet.key, value)),
      );
    });
    return fieldset(facet.title, buttons, facet.key === "margin" ? rangeBlock() : null);
  });
  $("filters").replaceChildren(...blocks.flat().filter(Boolean));
  if (focus) {
    const again = [...$("filters").querySelectorAll("[data-focus]")].find((element) => element.dataset.focus === focus);
    if (again) again.focus();
  }
}

const fieldset = (title, ...children) => h("fieldset", null, h("legend", null, title), children);

function contrastBlock(select, judges) {
  if (judges.length < 2) return null;
  const names = [["", "any"], ...judges.map((name) => [name, name])];
  const field = (label, control) => h("label", { class: "field" }, h("span", null, label), control);
  const { n, all } = counts.contrast;
  return fieldset(
    "One wrong, another right", field("wrong", select("wrong", "Judge that is right in no order", names)),
    field("right", select("right", "Judge that is right in every order", names)),
    state.wrong || state.right ? h("span", { class: "n" }, `${whole(n)} · ${share(n, all)}`) : null,
  );
}

function rangeBlock() {
  const [low, high] = state.margin.includes("..") ? state.margin.split("..") : ["", ""];
  const change = () => {
    const [from, to] = ["low", "high"].map((name) => $(`margin-${name}`).value);
    set({ margin: from === "" && to === "" ? "" : `${from}..${to}` });
  };
  const input = (name, label, value) => h("input", {
    id: `margin-${name}`, type: "number", min: 0, step: "any", placeholder: label, value, "aria-label": `Gold margin ${label}`,
    "data-focus": `margin-${name}`, onchange: change,
  });
  return h("div", { class: "field" }, input("low", "from", low), input("high", "to", high));
}

// The values of each facet over all pairs, whatever is filtered.
const ALL = Object.fromEntries(FACETS.map((facet) => {
  const tally = new Map();
  for (const value of valuesOf(facet).flat()) tally.set(value, (tally.get(value) || 0) + 1);
  return [facet.key, new Set([...tally].sort((a, b) => b[1] - a[1]).map(([value]) => value))];
}));

// ---- the list: only the rows in sight are in the document

function drawRows(reset) {
  const list = $("list");
  $("rows").style.height = `${shown.length * HEIGHT}px`;
  if (reset) {
    const at = shown.indexOf(current);
    if (at >= 0 && (at * HEIGHT < list.scrollTop || (at + 1) * HEIGHT > list.scrollTop + list.clientHeight)) {
      list.scrollTop = Math.max(0, at * HEIGHT - list.clientHeight / 3);
    }
  }
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
  const last = Math.min(shown.length, first + Math.ceil((list.clientHeight || 800) / HEIGHT) + 8);
  $("rows").replaceChildren(...shown.slice(first, last).map((p, i) => rowOf(p, first + i)));
  if (current >= 0 && $(`row-${current}`)) list.setAttribute("aria-activedescendant", `row-${current}`);
  else list.removeAttribute("aria-activedescendant");
}

function rowOf(p, at) {
  const { id, prompt = [], label, margin } = P[p];
  const told = prompt.filter((part) => part.type === "text").map((part) => part.text).join(" ").slice(0, 160);
  const facts = [label && `gold ${label}`, margin != null && `margin ${short(margin)}`].filter(Boolean);
  const some = CASES[p].slice(0, 6).map((one) => h(
    "span", { class: `glyph ${one.outcome}`, title: `${JUDGES[one.judge].label}: ${OUTCOME[one.outcome][1]}` },
    h("b", null, one.invalid ? "!" : one.flips ? "⇄" : OUTCOME[one.outcome][0]), ` ${JUDGES[one.judge].name}`,
  ));
  const row = h(
    "div", { class: "row", role: "option", id: `row-${p}`, "aria-selected": String(p === current), "aria-setsize": shown.length,
      "aria-posinset": at + 1, onclick: () => open(p) },
    h("div", { class: "head" }, h("span", null, visible(id)), h("span", null, facts.join(" · "))),
    h("div", { dir: "auto" }, told ? visible(told.replace(/\s+/g, " ")) : h("span", { class: "quiet" }, MODALITY[p].join(", "))),
    h("div", { class: "glyphs" }, some, CASES[p].length > 6 ? `+${CASES[p].length - 6}` : null),
  );
  row.style.top = `${at * HEIGHT}px`;
  return row;
}

function open(p) {
  current = p;
  state.pair = P[p].id;
  document.body.classList.add("reading");
  drawRows(true);
  drawDetail();
  writeAddress();
}

function step(by) {
  const at = shown.indexOf(current);
  const next = at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + by));
  if (shown.length) open(shown[next]);
}

// ---- texts: what does not show is made visible, what was searched for is marked

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

function visible(string) {
  const lower = string.toLowerCase(), words = state.q.toLowerCase();
  const same = lower.length === string.length; // else places of one are not those of the other
  const pieces = [];
  let plain = "";
  const flush = () => {
    if (plain) pieces.push(plain);
    plain = "";
  };
  for (let i = 0; i < string.length; i += 1) {
    if (words && same && lower.startsWith(words, i)) {
      flush();
      pieces.push(h("mark", null, string.slice(i, i + words.length)));
      i += words.length - 1;
    } else if (HIDDEN.test(string[i]) && !(string[i] === "\r" && string[i + 1] === "\n")) {
      flush();
      const code = `U+${string.charCodeAt(i).toString(16).toUpperCase().padStart(4, "0")}`;
      pieces.push(h("span", { class: "ctl", title: "a character that does not show" }, code));
    } else if (string[i] !== "\r") plain += string[i];
  }
  flush();
  return pieces;
}

const quiet = (...children) => h("p", { class: "quiet" }, children);
const prose = (string, kind = "text") => h("div", { class: kind, dir: "auto" }, string === "" ? quiet("(empty)") : visible(string));

// ---- media

let waiting = false; // a block of the present pair has not been read yet

function addressOf(number) {
  const { how, mime, href } = M[number];
  if (how === "linked") return href;
  const block = $(`m${number}`);
  if (!block) waiting = true;
  return block && `data:${mime};base64,${block.textContent}`;
}

function medium(type, number) {
  const { how, href, reduced } = M[number];
  const link = () => h("a", { href, target: "_blank", rel: "noopener" }, decodeURIComponent(href.split("/").pop()));
  if (how === "missing") return quiet(`Left out: the ${type} file is missing (${decodeURIComponent(href)}).`);
  const src = addressOf(number);
  if (!src) return quiet("Being read …");
  const fail = (event) => event.target.replaceWith(h("p", { class: "status" }, `This ${type} cannot be shown here.`));
  const small = (event) => {
    const side = Math.max(event.target.naturalWidth || 0, event.target.videoWidth || 0);
    if (side && side < 160) event.target.classList.add("small");
  };
  const player = { src, controls: true, preload: "metadata", onerror: fail };
  const shownAs = {
    image: () => h("img", { src, alt: "picture", onerror: fail, onload: small }),
    views3d: () => h("img", { src, alt: "rendered views of a 3D object", onerror: fail, onload: small }),
    video: () => h("video", { ...player, loop: true, "aria-label": "film", onloadedmetadata: small }),
    audio: () => h("audio", { ...player, "aria-label": "sound" }),
  };
  const note = how === "linked" ? ["linked: ", link()] : reduced ? ["reduced: ", link()] : null;
  return h("figure", null, shownAs[type](), note && h("figcaption", null, note));
}

function content(parts) {
  const who = (part) => `${part.role || "user"}${part.turn ? `, turn ${part.turn}` : ""}`;
  const plain = parts.every((part) => who(part) === "user");
  let before = null;
  return parts.map((part) => {
    const head = !plain && who(part) !== before ? h("div", { class: "who" }, who(part)) : null;
    before = who(part);
    const words = part.type === "text";
    const shownPart = words ? prose(part.text.replace(/^\n+/, "")) : medium(part.type, part.path);
    return h("div", { class: words ? "part words" : "part" }, head, shownPart);
  });
}

// ---- the pair

const tag = (words, kind = "", title = null) => h("span", { class: `tag ${kind}`, title }, words);
const letter = (verdict) => h("span", { class: `letter ${verdict}` }, verdict === "tie" ? "tie" : verdict);
const short = (score) => (score === null ? "–" : typeof score === "number" ? String(Math.round(score * 100) / 100) : score);

function drawDetail() {
  waiting = false;
  const p = current, detail = $("detail");
  if (p < 0) {
    const button = h("button", { type: "button", onclick: () => clear(FILTERS) }, "Clear all filters");
    detail.replaceChildren(h("div", { class: "empty" }, h("p", null, "No pair passes these filters."), button));
    return;
  }
  const at = shown.indexOf(p), { id, task, set: split, label: gold, margin, gold: labels } = P[p];
  const button = (words, by, off) => h("button", { type: "button", disabled: off, onclick: () => step(by) }, words);
  const bar = h(
    "div", { class: "bar" },
    h("button", { type: "button", class: "back", onclick: back }, "‹ Pairs"), h("h2", null, visible(id)),
    h("span", { class: "quiet" }, at < 0 ? "outside of the filters" : `${whole(at + 1)} of ${whole(shown.length)}`),
    button("‹ Previous", -1, at <= 0), button("Next ›", 1, at === shown.length - 1),
    h("button", { type: "button", onclick: copyLink }, "Copy link"),
  );
  const facts = h(
    "div", { class: "facts" }, tag(`task ${task}`), split ? tag(split) : null, MODALITY[p].map((kind) => tag(kind)),
    gold ? tag(gold === "tie" ? "gold: tie" : `gold: ${gold} is better`, "good") : tag("no gold label"),
    margin == null ? null : tag(`margin ${short(margin)}`, "", "difference of the gold scores, in points of 0-10"),
  );
  const marks = labels.find((label) => label.marks_a || label.marks_b);
  const cases = [...CASES[p]].sort((a, b) => (b.judge === chosen) - (a.judge === chosen)); // the chosen judge first
  detail.replaceChildren(
    bar, facts, ...pairBlock(p, gold), ...labels.map(goldBlock), h("h3", null, "Judges"),
    ...cases.map((one) => judgeBlock(p, one, marks)), aboutBlock(p) || "",
  );
  detail.scrollTop = 0;
}

function pairBlock(p, gold) {
  const { prompt, response_a: a, response_b: b, criterion: asked } = P[p];
  const criterion = asked == null ? [] : [h("h3", null, "Criterion"), h("div", { class: "card" }, prose(asked))];
  if (!prompt) {
    const words = "The prompt and the responses of this pair are in none of the files given; see Help & data.";
    return [h("p", { class: "said" }, words), ...criterion];
  }
  const side = (name, parts) => h(
    "section", { class: "card side", "aria-label": `Response ${name}` },
    h("header", null, letter(name), h("span", { class: "quiet" }, `Response ${name}`),
      gold === name ? tag("gold", "good", "the better one by the gold label") : null),
    content(parts),
  );
  const words = prompt.filter((part) => part.type === "text").length;
  const beside = words === 1 && prompt.length > 1; // one question beside its media; else the order is kept
  return [
    h("h3", null, "Prompt"), h("div", { class: beside ? "card prompt" : "card" }, content(prompt)), ...criterion, h("h3", null, "Responses"),
    h("div", { class: "two" }, side("A", a), side("B", b)),
  ];
}

const marksOf = (marks) => marks && D.dimensions.map((name) => (name in marks ? (marks[name] ? "1" : "0") : "-")).join("");

const MARKS = { 1: ["✓", "good", "good"], 0: ["✗", "poor", "bad"], "-": ["–", "not marked", ""] };

// Marks of both sides as `11011`; those that differ from the gold ones are framed.
function marksTable(sides, golden, quotes) {
  const title = (name) => name[0].toUpperCase() + name.slice(1);
  const cell = (side, i) => {
    const mark = (sides[side] || "")[i] || "-", wanted = (golden && (golden[side] || "")[i]) || "-";
    const off = wanted !== "-" && mark !== "-" && mark !== wanted;
    const [sign, name, kind] = MARKS[mark];
    const words = `${name}${off ? `; gold says ${MARKS[wanted][1]}` : ""}`;
    const quote = quotes && quotes[side] && quotes[side][D.dimensions[i]];
    return h(
      "td", { class: off ? `${kind} off` : kind, title: quote ? `${words}: ${quote}` : words },
      h("span", { "aria-hidden": "true" }, sign), h("span", { class: "hidden" }, words),
    );
  };
  const head = h("tr", null, h("td"), D.dimensions.map((name) => h("th", { scope: "col" }, title(name))));
  const rows = [0, 1].map((side) => h("tr", null, h("th", { scope: "row" }, "AB"[side]), D.dimensions.map((_, i) => cell(side, i))));
  return h("table", { class: "marks" }, h("thead", null, head), h("tbody", null, rows));
}

const scores = (a, b) => h("span", { class: "scores" }, "A ", h("b", null, short(a)), " : ", h("b", null, short(b)), " B");

function goldBlock(label) {
  const sides = [marksOf(label.marks_a), marksOf(label.marks_b)];
  const said = label.rationale && label.shown === "BA" ? "Its “A” is response B. " : "";
  const by = label.provenance + (label.confidence == null ? "" : `, confidence ${label.confidence}`);
  return h(
    "section", { "aria-label": "Gold label" }, h("h3", null, "Gold label"),
    h(
      "div", { class: "card" },
      h("div", { class: "verdict" }, letter(label.verdict), scores(label.score_a, label.score_b), h("span", { class: "quiet" }, visible(by))),
      sides[0] || sides[1] ? marksTable(sides, null, [label.quotes_a, label.quotes_b]) : null,
      label.evidence ? quiet("Evidence: ", visible(label.evidence)) : null,
      label.rationale ? prose(said + label.rationale, "text reason") : null,
    ),
  );
}

function judgeBlock(p, one, golden) {
  const judge = JUDGES[one.judge], kinds = golden && [marksOf(golden.marks_a), marksOf(golden.marks_b)];
  const outcome = one.outcome === "unknown" ? null : tag(OUTCOME[one.outcome].join(" "), one.outcome);
  const file = `${judge.file}${judge.seed ? ` · seed ${judge.seed}` : ""}`;
  const orders = ["AB", "BA"].map((order) => {
    const row = one.rows.find((number) => R.order[number] === order);
    const head = h("h5", null, order === "AB" ? "A shown first" : "B shown first");
    if (row === undefined) return h("div", { class: "order" }, head, quiet("not judged in this order"));
    return h("div", { class: "order" }, head, judgementBlock(p, row, kinds));
  });
  return h(
    "article", { class: `card judge${one.flips ? " flips" : ""}`, "aria-label": `Judge ${judge.label}` },
    h("header", null, h("h4", null, visible(judge.name)), h("span", { class: "quiet" }, file),
      one.flips ? tag("⇄ flips with the order", "warn") : null, one.invalid ? tag("! invalid", "bad") : null, outcome),
    h("div", { class: "two" }, orders),
  );
}

function judgementBlock(p, row, golden) {
  const { label: gold, criterion } = P[p];
  const raw = R.raw[row], verdict = R.verdict[row], status = R.status[row], tokens = R.tokens[row];
  const a = R.score_a[row], b = R.score_b[row], own = R.criterion[row], marks = R.marks[row];
  const right = verdict === gold ? h("b", { class: "right" }, "✓ right") : h("b", { class: "wrong" }, "✗ wrong");
  const said = [
    h("div", { class: "verdict" }, verdict ? letter(verdict) : h("span", { class: "quiet" }, "no verdict"),
      status === "ok" && gold ? right : null, a === null && b === null ? null : scores(a, b)),
  ];
  if (status !== "ok") {
    const meaning = (STATUS[status] ? `: ${STATUS[status]}` : "") + (verdict ? "; its verdict does not count" : "");
    said.push(h("p", { class: "status" }, h("code", null, visible(status)), meaning));
  }
  if (own && own !== criterion) said.push(quiet("Judged under: ", visible(own)));
  if (marks) said.push(marksTable(marks.split("/"), golden));
  if (!raw) return [...said, quiet("no text")];
  if (R.order[row] === "BA" && /\b[AB]\b/.test(raw)) said.push(quiet("In its own words “A” is response B, “B” is response A."));
  const reason = reasonOf(raw);
  said.push(prose(reason, "text reason"));
  if (reason === raw) return said;
  const title = `Raw output${tokens ? ` (${whole(tokens)} tokens)` : ""}`;
  return [...said, h("details", null, h("summary", null, title), h("pre", { dir: "auto" }, visible(raw)))];
}

function reasonOf(raw) { // the rationale of a judgement in JSON, else the text as it is
  try {
    const found = JSON.parse(raw).reasoning;
    if (typeof found === "string") return found.replace(/^<think>/, "").replace(/<\/think>$/, "");
  } catch { /* not JSON: its status says so */ }
  return raw;
}

function aboutBlock(p) {
  const { cluster, source, meta } = P[p];
  const facts = JSON.stringify({ cluster, source, meta }, null, 1);
  if (facts === "{}") return null;
  return h("details", null, h("summary", null, "More about this pair"), h("pre", { dir: "auto" }, visible(facts)));
}

async function copyLink(event) {
  const button = event.target, words = button.textContent;
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "It is in the address bar";
  }
  setTimeout(() => (button.textContent = words), 1500);
}

function back() {
  document.body.classList.remove("reading");
  drawRows(true);
  $("list").focus();
}

// ---- help, keys, start

const KEYS = [
  ["j  k", "next, previous pair"], ["/", "search"], ["x", "clear all filters"], ["?", "this help"],
  ["Esc", "close, leave the search"],
];

function drawHelp() {
  const list = (rows) => h("dl", null, rows.map(([name, words]) => [h("dt", null, h("kbd", null, name)), h("dd", null, words)]));
  $("help").replaceChildren(
    h("h2", { id: "help-title" }, "Help & data"), list(KEYS), h("h3", null, "What the words mean"),
    h("ul", null, [
      "Verdict and scores stand in the pair’s own frame: A is response A in both orders.",
      "Right: a valid verdict that is the gold label, in every order that was judged. Wrong: in none of them.",
      "A judgement that is invalid (!: it breaks its format) is not right, whatever it says.",
      "Flipped by order (⇄): both judgements are valid and name different winners.",
      "A count beside a filter is the number of pairs it would leave with all other filters as they are, and their share.",
      "Order, outcome, status and judged ties are about the chosen judge, or about any judge.",
      "Marks in a frame are those where a judge and the gold label differ.",
      "The address names pair and filters: #judge=…&status=invalid links to just these pairs.",
    ].map((words) => h("li", null, words))),
    h("h3", null, "Data of this page"), h("ul", null, NOTES.map((words) => h("li", null, words))),
    h("form", { method: "dialog" }, h("button", null, "Close")),
  );
}

addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape" && typing) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || typing || $("help").open) return;
  const inList = {
    ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => step(-N), End: () => step(N),
    PageDown: () => step(8), PageUp: () => step(-8),
  };
  const actions = {
    j: () => step(1), k: () => step(-1), x: () => clear(FILTERS),
    "/": () => $("search").focus(), "?": () => $("help").showModal(),
    ...(event.target === $("list") ? inList : {}),
  };
  if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});

let later = 0;
$("search").addEventListener("input", (event) => {
  clearTimeout(later);
  later = setTimeout(() => set({ q: event.target.value }), 150);
});
$("sort").replaceChildren(...Object.entries(SORTS).map(([value, words]) => h("option", { value }, words)));
$("sort").addEventListener("change", (event) => set({ sort: event.target.value, pair: "" }));
$("list").addEventListener("scroll", () => requestAnimationFrame(() => drawRows(false)), { passive: true });
$("help-button").addEventListener("click", () => $("help").showModal());
$("show-filters").addEventListener("click", () => {
  const on = document.body.classList.toggle("filtering");
  $("show-filters").setAttribute("aria-expanded", String(on));
  $("show-filters").textContent = on ? "Show pairs" : "Filters";
  drawRows(true);
});
addEventListener("resize", () => drawRows(false));
addEventListener("hashchange", readAddress);
document.addEventListener("DOMContentLoaded", () => waiting && drawDetail());
drawHelp();
readAddress();
