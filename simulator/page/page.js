"use strict";

const control = "/_control/";
const find = (selector) => document.querySelector(selector);
const LOG_LINES = 200;
const ROWS = 100;

let table = null;
let seen = 0;
let before = null;
let asked = false;
let looking = false;

async function ask(path, method = "GET", body) {
  const answer = await fetch(control + path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

// Everything shown comes from rows that anybody may have written: text only, never markup.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map(String));
  return element;
}

function showTotals(counters) {
  const now = performance.now();
  find("#requests").textContent = counters.requests.toLocaleString("en");
  find("#operations").textContent = counters.operations.toLocaleString("en");
  find("#last").textContent = counters.oplog_last.toLocaleString("en");
  find("#tokens").textContent = counters.tokens_issued.toLocaleString("en");
  if (before) find("#rate").textContent = Math.round((counters.requests - before.requests) / ((now - before.at) / 1000));
  before = { requests: counters.requests, at: now };
}

function showTables(rows) {
  const list = find("#tables ul");
  list.replaceChildren();
  for (const [name, count] of Object.entries(rows)) {
    const button = make("button", { "data-table": name, "aria-current": name === table });
    button.append(make("span", {}, name), make("span", {}, count.toLocaleString("en")));
    const item = make("li");
    item.append(button);
    list.append(item);
  }
}

async function showRows() {
  if (!table) return;
  const { rows, total } = await ask(`rows/${table}?limit=${ROWS}`);
  find("#table-name").textContent = table;
  find("#row-count").textContent = total > ROWS ? `newest ${ROWS} of ${total.toLocaleString("en")}` : total === 1 ? "1 row" : `${total} rows`;
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row).filter((name) => row[name] !== null)))];
  const head = make("tr");
  head.append(...columns.map((name) => make("th", {}, name)));
  find("#rows thead").replaceChildren(head);
  find("#rows tbody").replaceChildren(
    ...rows.map((row) => {
      const line = make("tr");
      line.append(...columns.map((name) => make("td", { title: row[name] ?? "" }, row[name] ?? "")));
      return line;
    }),
  );
}

function entryLine(entry) {
  const line = make("li", { class: "entry" });
  const changed = Object.entries(entry.changes)
    .filter(([name]) => !["versionnumber", "modifiedon", "createdon"].includes(name))
    .map(([name, [, value]]) => `${name}=${value}`);
  line.append(
    make("span", { class: "seq" }, entry.seq),
    make("b", { class: entry.outcome }, entry.outcome.replace("_", " ")),
    ` ${entry.operation} ${entry.table} ${entry.id.slice(0, 8)} `,
    make("small", {}, entry.actor, entry.status ? ` · ${entry.status} ${entry.code}` : ""),
    make("span", { class: "what" }, changed.slice(0, 4).join(" · ")),
  );
  return line;
}

async function showLog() {
  const { last, entries } = await ask(`oplog?after=${Math.max(seen, 0)}&limit=${LOG_LINES}`);
  const list = find("#log ol");
  if (last < seen) {
    // The numbers of another life: the simulator was started again.
    seen = 0;
    list.replaceChildren();
    return showLog();
  }
  if (last - seen > LOG_LINES && entries.length === LOG_LINES) {
    seen = last - LOG_LINES;
    list.replaceChildren();
    return showLog();
  }
  for (const entry of entries) {
    list.prepend(entryLine(entry));
    seen = entry.seq;
  }
  while (list.children.length > LOG_LINES) list.lastChild.remove();
}

function limitLine(label, used, limit, unit = "") {
  const line = make("div", { class: "limit" });
  const bar = make("div", { class: "bar" });
  const fill = make("i", { class: used >= limit ? "full" : "" });
  fill.style.width = `${Math.min(100, (100 * used) / limit)}%`;
  bar.append(fill);
  line.append(make("span", {}, label), bar, make("span", {}, `${used.toLocaleString("en")} / ${limit.toLocaleString("en")}${unit}`));
  return line;
}

function showLimits(limits) {
  const box = find("#limits .scroll");
  if (!limits.length) return box.replaceChildren(make("p", { class: "empty" }, "Nobody has asked anything yet."));
  const lines = [];
  for (const one of limits) {
    const blocked = one.blocked_seconds ? ` · throttled for ${one.blocked_seconds.toFixed(1)} s` : "";
    lines.push(make("p", {}, `user ${one.user.slice(0, 8)}…${one.user.slice(-4)} on server ${one.server} · refused ${one.throttled}${blocked}`));
    lines.push(limitLine("requests", one.requests, one.requests_limit));
    lines.push(limitLine("execution time", Math.round(one.execution_seconds), one.execution_seconds_limit, " s"));
    lines.push(limitLine(`at the same time (peak ${one.concurrent_peak})`, one.concurrent, one.concurrent_limit));
  }
  return box.replaceChildren(...lines);
}

async function showFaults() {
  const { rules } = await ask("faults");
  const lines = rules.map((rule) =>
    make("li", {}, `${rule.id}: ${rule.do.map((action) => action.kind).join(", ")} – fired ${rule.fired} of ${rule.times === null ? "∞" : rule.times ?? 1}`),
  );
  find("#armed").replaceChildren(...lines);
}

const faults = {
  // A write is whatever has a body.
  unanswered: () => ask("faults", "POST", { when: { body: "." }, do: [{ kind: "cut", moment: "applied" }] }),
  before: () => ask("faults", "POST", { do: [{ kind: "cut", moment: "before" }] }),
  503: () => ask("faults", "POST", { do: [{ kind: "status", status: 503 }] }),
  deadlock: () => ask("faults", "POST", { when: { scope: "operation" }, do: [{ kind: "error", name: "sql_deadlock" }] }),
  throttle: async () => {
    const { limits } = await ask("counters");
    for (const user of new Set(limits.map((one) => one.user))) await ask("throttle", "POST", { user, seconds: 10 });
  },
  expire: () => ask("expire-tokens", "POST", {}),
  clear: () => ask("faults", "DELETE"),
};

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
    await Promise.all([showRows(), showLog(), showFaults()]);
    find("#state").textContent = "live";
    find("#state").className = "";
  } catch (error) {
    find("#state").textContent = `not reachable: ${error.message}`;
    find("#state").className = "lost";
  }
}

find("#tables").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  table = button.dataset.table;
  refresh();
});
find("#faults").addEventListener("click", async (event) => {
  const wanted = event.target.dataset.fault;
  if (!wanted) return;
  await faults[wanted]();
  refresh();
});
find("#latency").addEventListener("input", (event) => {
  find("#latency-shown").textContent = `${event.target.value} ms`;
  ask("latency", "PUT", { seconds: Number(event.target.value) / 1000 });
});

refresh();
setInterval(refresh, 1000);
