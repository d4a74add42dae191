// Elements and the control endpoint. Everything shown comes from rows that anybody may have written: text only,
// never markup.

export const find = (selector) => document.querySelector(selector);

export async function ask(path, method = "GET", body) {
  const answer = await fetch(`/_control/${path}`, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

// A text that does not change is not touched, so that what somebody selected in it stays selected.
export function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

// Make the children of a list those of the items, and leave alone what is there already: focus, selection and scroll
// position survive. `create` makes an element, `update` brings it up to date.
export function sync(parent, items, keyOf, create, update = () => {}) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => [String(keyOf(item)), item]);
  const keys = new Set(wanted.map(([key]) => key));
  for (const [key, child] of old) if (!keys.has(key)) child.remove();
  let place = parent.firstElementChild;
  for (const [key, item] of wanted) {
    let child = old.get(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}

export const number = (value) => Number(value).toLocaleString("en");
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
