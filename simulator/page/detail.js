// The dialog: one row with its history and a form to edit it as a person would, or one request with its bodies.

import { ask, clock, find, make, say } from "/page/dom.js";

const dialog = find("#detail");
const body = find("#detail .body");
const HISTORY = 50;

dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
});

function open(title, ...content) {
  say(find("#detail-title"), title);
  body.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
}

export async function showRow(table, id) {
  const [{ set, row, targets, columns }, { entries }] = await Promise.all([
    ask(`rows/${table}/${id}`),
    ask(`oplog?id=${id}&newest=1&limit=${HISTORY}`),
  ]);
  open(`${set}(${id})`, edit(table, id, set, row, targets, columns), make("h3", {}, "History"), history(entries));
}

function history(entries) {
  if (!entries.length) return make("p", { class: "hint" }, "The log has nothing about this row.");
  const list = make("ol", { class: "history" });
  for (const entry of [...entries].reverse()) list.append(entryLine(entry, 40));
  return list;
}

const quiet = new Set(["versionnumber", "modifiedon", "createdon"]);

export function entryLine(entry, most = 4) {
  const changed = Object.entries(entry.changes)
    .filter(([name]) => !quiet.has(name))
    .map(([name, [old, value]]) => (old === null ? `${name}=${value}` : `${name}: ${old} → ${value}`));
  const line = make("li", { class: entry.answer ? "entry lost-answer" : "entry" });
  line.append(
    make("span", { class: "seq" }, entry.seq),
    make("b", { class: entry.outcome }, entry.outcome.replace("_", " ")),
    ` ${entry.operation} ${entry.table} ${entry.id.slice(0, 8)} `,
    make("small", {}, `${clock(entry.at)} · ${entry.actor}${entry.status ? ` · ${entry.status} ${entry.code}` : ""}`),
  );
  if (entry.answer) line.append(make("span", { class: "answer" }, entry.answer));
  line.append(make("span", { class: "what" }, changed.slice(0, most).join(" · ")));
  return line;
}

function edit(table, id, set, row, targets, columns) {
  const form = make("form", { class: "row-form" });
  const shown = columns.filter(({ name, editable }) => editable || (row[name] ?? null) !== null);
  for (const column of shown) form.append(field(column, row[column.name] ?? null, targets[column.name]));
  const message = make("p", { role: "status", class: "hint" }, "Columns without a field are the service's own, or lookups.");
  const remove = make("button", { type: "button", class: "danger" }, "Delete as a person");
  form.append(make("div", { class: "buttons" }, make("button", {}, "Edit as a person"), remove), message);

  const change = async (values) => {
    try {
      await ask("edit", "POST", { set, id, values });
      if (values === null) dialog.close();
      else await showRow(table, id);
      dispatchEvent(new Event("changed"));
    } catch (error) {
      message.className = "error";
      say(message, error.message);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = {};
    for (const column of columns.filter(({ editable }) => editable)) {
      const value = read(form.elements[column.name], column);
      if (value !== (row[column.name] ?? null)) values[column.name] = value;
    }
    if (Object.keys(values).length) change(values);
    else say(message, "Nothing was changed.");
  });
  remove.addEventListener("click", () => change(null));
  return form;
}

const WHOLE = new Set(["Integer", "BigInt", "Picklist", "State", "Status"]);
const FRACTION = new Set(["Decimal", "Double", "Money"]);

function field(column, value, target) {
  const label = make("label", {}, make("span", {}, column.name));
  if (!column.editable) {
    label.append(make("output", {}, target ? `${value} (${target})` : value));
    return label;
  }
  label.append(input(column, value));
  return label;
}

function input(column, value) {
  const options = column.type === "Boolean" ? { true: "true", false: "false" } : column.options;
  if (Object.keys(options).length) {
    const select = make("select", { name: column.name }, make("option", { value: "" }, "–"));
    for (const [key, text] of Object.entries(options)) select.append(make("option", { value: key }, key === text ? text : `${key} ${text}`));
    select.value = value === null ? "" : String(value);
    return select;
  }
  if (column.type === "Memo") {
    const area = make("textarea", { name: column.name, rows: 2 });
    area.value = value ?? "";
    return area;
  }
  const kind = WHOLE.has(column.type) || FRACTION.has(column.type) ? "number" : "text";
  const box = make("input", { name: column.name, type: kind, step: kind === "number" ? "any" : undefined, autocomplete: "off" });
  box.value = value ?? "";
  return box;
}

function read(element, column) {
  const text = element.value;
  if (text === "") return null;
  if (column.type === "Boolean") return text === "true";
  return WHOLE.has(column.type) || FRACTION.has(column.type) ? Number(text) : text;
}

export async function showRequest(seen) {
  const title = `${seen.method} ${seen.path || "/"}`;
  const facts = make("p", {}, `No. ${seen.number} · ${clock(seen.at)} · status ${seen.status} · ${milliseconds(seen)} ms · ${seen.operations} operations`);
  const answer = seen.answer ? [make("p", { class: "answer" }, seen.answer)] : [];
  let parts;
  try {
    const kept = await ask(`requests/${seen.number}`);
    parts = [
      make("h3", {}, "Request"), lines(kept.headers), make("pre", {}, kept.body || "no body"),
      make("h3", {}, "Answer"), lines(kept.answer_headers), make("pre", {}, kept.answer_body || "no body"),
    ];
  } catch (error) {
    parts = [make("p", { class: "hint" }, error.message)];
  }
  open(title, facts, ...answer, ...parts);
}

const lines = (headers) => make("pre", { class: "headers" }, Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n"));
export const milliseconds = (seen) => (seen.seconds * 1000).toFixed(seen.seconds < 0.1 ? 1 : 0);
