// What is looked at again and again: totals, tables, rows, logs, limits.

import { entryLine, milliseconds, showRequest, showRow } from "/page/detail.js";
import { ask, clock, find, make, number, say, sync } from "/page/dom.js";
import { showConnect, showFaults, showLatency, showSnapshots, showSwitches } from "/page/panels.js";

const LINES = 100;
const ROWS = 100;
const EVERY = 1000;
const MOST_SHARE = 20; // a look may take one twentieth of the time between two

let table = null;
let filter = "";
let shownTable = null;
let entries = [];
let requests = [];
let total = 0;
let seen = 0;
let before = null;
let asked = false;
let looking = false;

function showTotals(counters) {
  const now = performance.now();
  say(find("#requests-total"), number(counters.requests));
  say(find("#operations"), number(counters.operations));
  say(find("#last"), number(counters.oplog_last));
  say(find("#tokens"), number(counters.tokens_issued));
  if (before) say(find("#rate"), number(Math.max(0, Math.round((counters.requests - before.requests) / ((now - before.at) / 1000)))));
  before = { requests: counters.requests, at: now };
}

function showTables(rows) {
  sync(find("#tables ul"), Object.entries(rows), ([name]) => name,
    ([name]) => make("li", {}, make("button", { "data-table": name }, make("span", {}, name), make("span", {}))),
    (item, [name, count]) => {
      item.firstChild.setAttribute("aria-current", name === table);
      say(item.firstChild.lastChild, number(count));
    });
}

function counted(rows, all) {
  if (filter) return `${rows.length === ROWS ? `newest ${ROWS}` : number(rows.length)} with “${filter}”, of ${number(all)}`;
  if (all > ROWS) return `newest ${ROWS} of ${number(all)}`;
  return all === 1 ? "1 row" : `${all} rows`;
}

async function showRows() {
  if (!table) return;
  const wanted = table;
  const text = filter;
  const { id, name, rows, total: all } = await ask(`rows/${table}?limit=${ROWS}${text ? `&contains=${encodeURIComponent(text)}` : ""}`);
  if (wanted !== table || text !== filter) return;
  say(find("#table-name"), table);
  say(find("#row-count"), counted(rows, all));
  const filled = new Set(rows.flatMap((row) => Object.keys(row).filter((key) => row[key] !== null)));
  const columns = [...new Set([id, name, ...filled])].filter((key) => filled.has(key) && !key.startsWith("@"));
  if (shownTable !== table) find("#rows tbody").replaceChildren();
  shownTable = table;
  sync(find("#rows thead"), columns.length ? [columns] : [], (names) => names.join(), (names) => make("tr", {}, ...names.map((one) => make("th", {}, one))));
  sync(find("#rows tbody"), rows, (row) => row[id], (row) => {
    const button = make("button", { class: "link", "data-id": row[id], title: "Show the row, its history, and a form to edit it" }, row[id].slice(0, 8));
    return make("tr", {}, make("td", {}, button));
  }, (line, row) => {
    columns.slice(1).forEach((column, at) => {
      const cell = line.children[at + 1] ?? line.appendChild(make("td"));
      const value = row[column] ?? "";
      say(cell, value);
      if (cell.title !== String(value)) cell.title = value;
    });
    while (line.children.length > columns.length) line.lastChild.remove();
  });
}

async function showLog() {
  const { last, forgotten, entries: found } = await ask(`oplog?after=${seen}&newest=1&limit=${LINES}`);
  if (last < seen) {
    // The numbers of another life: the simulator was started again.
    seen = 0;
    entries = [];
    return showLog();
  }
  entries = [...found.reverse(), ...entries].filter((entry) => entry.seq > forgotten).slice(0, LINES);
  seen = last;
  sync(find("#log ol"), entries, (entry) => entry.seq, (entry) => entryLine(entry));
}

async function showRequests() {
  const found = await ask(`requests?newest=1&limit=${LINES}&since=${total}`);
  if (found.total < total) {
    total = 0;
    requests = [];
    return showRequests();
  }
  requests = [...found.requests.reverse(), ...requests].slice(0, LINES);
  total = found.total;
  sync(find("#requests tbody"), requests, (one) => `${one.number}`, (one) => {
    const path = make("button", { class: "link", "data-request": one.number, title: "Show headers and bodies" }, `${one.method} ${one.path || "/"}`);
    const unsent = one.answer && !/answered \d/.test(one.answer);
    const status = make("span", { class: unsent ? "unsent" : one.status >= 400 ? "refused" : "committed" }, one.status || "–");
    const answer = one.answer ? [make("span", { class: "answer" }, one.answer)] : [];
    return make("tr", { class: one.answer ? "lost-answer" : undefined, title: clock(one.at) },
      make("td", { class: "number" }, one.number), make("td", {}, path, ...answer), make("td", {}, status),
      make("td", { class: "number" }, milliseconds(one)), make("td", {}, one.fault));
  });
  return undefined;
}

function bars(one) {
  return [
    ["requests", one.requests, one.requests_limit, ""],
    ["execution time", Math.round(one.execution_seconds), one.execution_seconds_limit, " s"],
    [`at the same time (peak ${one.concurrent_peak})`, one.concurrent, one.concurrent_limit, ""],
  ];
}

function showLimits(limits) {
  const box = find("#limits .scroll");
  if (!limits.length) return sync(box, [0], () => "none", () => make("p", { class: "empty" }, "Nobody has asked anything yet."));
  return sync(box, limits, (one) => `${one.user}/${one.server}`, () => {
    const block = make("div", {}, make("p"));
    for (let line = 0; line < 3; line++) {
      block.append(make("div", { class: "limit" }, make("span"), make("span", { class: "used" }), make("div", { class: "bar" }, make("i"))));
    }
    return block;
  }, (block, one) => {
    const early = one.early ? `, ${number(one.early)} of them sent before a wait was over` : "";
    const blocked = one.blocked_seconds ? ` · throttled for ${one.blocked_seconds.toFixed(1)} s` : "";
    say(block.firstChild, `user ${one.user.slice(0, 8)}…${one.user.slice(-4)} on server ${one.server} · refused ${number(one.throttled)}${early}${blocked}`);
    bars(one).forEach(([label, used, limit, unit], at) => {
      const [name, numbers, bar] = block.children[at + 1].children;
      say(name, label);
      say(numbers, `${number(used)} / ${number(limit)}${unit}`);
      bar.firstChild.style.width = `${Math.min(100, (100 * used) / limit)}%`;
      bar.firstChild.className = used >= limit ? "full" : "";
    });
  });
}

// One look at a time; who asks meanwhile gets another one after it.
async function refresh() {
  asked = true;
  if (looking) return;
  looking = true;
  while (asked) {
    asked = false;
    await look();
  }
  looking = false;
}

async function look() {
  try {
    const counters = await ask("counters");
    table ??= Object.keys(counters.rows).find((name) => name.includes("queue")) ?? Object.keys(counters.rows)[0];
    showTotals(counters);
    showTables(counters.rows);
    showLimits(counters.limits);
    showLatency(counters.latency);
    say(find("#strict"), counters.strict ? "strict" : "");
    await Promise.all([showRows(), showLog(), showRequests(), showFaults()]);
    say(find("#state"), "live");
    find("#state").className = "";
  } catch (error) {
    say(find("#state"), `not reachable: ${error.message}`);
    find("#state").className = "lost";
  }
}

// An open page must not slow down what it watches: the longer a look takes, the rarer it is.
async function watch() {
  const start = performance.now();
  if (!document.hidden) await refresh();
  setTimeout(watch, Math.max(EVERY, MOST_SHARE * (performance.now() - start)));
}

find("#tables").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  table = button.dataset.table;
  refresh();
});
find("#rows tbody").addEventListener("click", (event) => {
  const id = event.target.dataset.id;
  if (id) showRow(table, id);
});
find("#requests tbody").addEventListener("click", (event) => {
  const wanted = event.target.dataset.request;
  if (wanted) showRequest(requests.find((one) => String(one.number) === wanted));
});
let typing;
find("#filter").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    filter = event.target.value.trim();
    refresh();
  }, 250);
});
addEventListener("changed", () => {
  refresh();
  showSnapshots();
});

window.refresh = refresh; // for tests, which cannot wait for the next second
showConnect();
showSwitches();
showSnapshots();
watch();
