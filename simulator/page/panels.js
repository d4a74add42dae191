// What is read once and after every change: how to connect, switches, snapshots, reset, faults.

import { ask, find, make, number, say, sync } from "/page/dom.js";

const changed = () => dispatchEvent(new Event("changed"));

export async function showConnect() {
  const known = await ask("connect");
  const signIn = {
    none: "no sign-in: x-simulator-user names the user",
    static: "a fixed bearer token",
    entra: "tokens of the sign-in endpoint",
  };
  const facts = [
    ["Web API", `${known.api_url}/`],
    ["Sign-in", signIn[known.auth]],
    ["Token", known.token],
    ["Over TLS", known.authority && `${known.authority}/`],
    ["Trust", known.ca_file],
    ["Tenant", known.authority && known.tenant_id],
    ["Client id", known.authority && known.client_id],
    ["Client secret", known.client_secret],
  ].filter(([, value]) => value);
  sync(find("#connect dl"), facts, ([name]) => name, ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  sync(find("#commands"), known.curl, (command) => command, (command) => {
    const copy = make("button", { type: "button" }, "Copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command);
      say(copy, "Copied");
    });
    return make("div", { class: "command" }, make("code", {}, command), copy);
  });
}

export async function showSwitches() {
  const { values, choices } = await ask("switches");
  sync(
    find("#switches .scroll"), Object.entries(choices), ([name]) => name,
    ([name, options]) => {
      const select = make("select", { name }, ...options.map((option) => make("option", { value: option }, option)));
      select.addEventListener("change", async () => {
        await ask("switches", "PUT", { [name]: select.value });
        changed();
      });
      return make("label", { class: "switch" }, make("span", {}, name), select);
    },
    (label, [name]) => {
      const select = label.querySelector("select");
      if (select !== document.activeElement) select.value = values[name];
    },
  );
}

export async function showSnapshots() {
  const { snapshots } = await ask("snapshots");
  sync(find("#snapshots"), Object.entries(snapshots), ([name]) => name, ([name]) => {
    const back = make("button", { type: "button", "data-back": name }, "Go back");
    const drop = make("button", { type: "button", class: "quiet", "aria-label": `Forget ${name}` }, "✕");
    back.addEventListener("click", () => ask(`snapshots/${encodeURIComponent(name)}`, "POST").then(changed));
    drop.addEventListener("click", () => ask(`snapshots/${encodeURIComponent(name)}`, "DELETE").then(showSnapshots));
    return make("li", {}, make("span", {}), back, drop);
  }, (item, [name, rows]) => say(item.firstChild, `${name} · ${number(rows)} rows`));
}

find("#take").addEventListener("submit", async (event) => {
  event.preventDefault();
  await ask(`snapshots/${encodeURIComponent(event.target.elements.name.value)}`, "PUT");
  event.target.reset();
  showSnapshots();
});
find("#reset").addEventListener("click", async () => {
  if (!confirm("Reset rows, log, faults, limits and switches to the start?")) return;
  await ask("reset", "POST", {});
  changed();
  showSwitches();
});

export async function showFaults() {
  const { rules } = await ask("faults?history=0");
  sync(find("#armed"), rules, (rule) => rule.id, (rule) => {
    const drop = make("button", { type: "button", class: "quiet", "aria-label": `Disarm ${rule.id}` }, "✕");
    drop.addEventListener("click", () => ask(`faults/${encodeURIComponent(rule.id)}`, "DELETE").then(changed));
    return make("li", {}, make("span", {}), drop);
  }, (item, rule) => {
    const often = rule.times === null ? `fired ${rule.fired} times, goes on` : `fired ${rule.fired} of ${rule.times ?? 1}`;
    say(item.firstChild, `${rule.id}: ${rule.do.map((action) => action.kind).join(", ")} – ${often}`);
  });
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

find("#faults .buttons").addEventListener("click", async (event) => {
  const wanted = event.target.dataset.fault;
  if (!wanted) return;
  await faults[wanted]();
  changed();
});

const latency = find("#latency");
latency.addEventListener("input", () => {
  say(find("#latency-shown"), `${latency.value} ms`);
  ask("latency", "PUT", { seconds: Number(latency.value) / 1000 });
});

// Somebody else may have set it, here or at the start.
export function showLatency(seconds) {
  if (latency === document.activeElement) return;
  latency.value = (seconds ?? 0) * 1000;
  say(find("#latency-shown"), seconds === null ? "drawn" : `${Math.round(seconds * 1000)} ms`);
}
