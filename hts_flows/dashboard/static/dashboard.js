// Live updates, colours, selections and figures. Every page works without this; with it, it moves by itself.

const notice = document.getElementById("connection");

// --- Live updates: the server says that something has changed, and the parts marked data-part are fetched anew.

/** Figures are drawn anew at most so often, ms. */
const REDRAW = 15000;
let busy = false;
let again = false;

function isInUse(part) {
  const active = document.activeElement;
  const typing = active && part.contains(active) && active.matches("input:not([type=checkbox]), select, textarea");
  return typing || part.querySelector("input[type=checkbox]:checked") !== null || part.matches(":has(.js-plotly-plot)");
}

async function refresh() {
  const recovers = document.querySelector("[data-recovers]") !== null;
  // Pages without such parts, among them those that answer a form, stay as they are.
  if (!recovers && document.querySelector("[data-part]") === null) return;
  if (document.hidden || busy) {
    again = true;
    return;
  }
  busy = true;
  again = false;
  try {
    const answer = await fetch(location.href, { headers: { "X-Live": "1" } });
    if (answer.redirected || (recovers && answer.ok)) {
      location.reload();
      return;
    }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const replacement = fresh.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
      if (replacement === null || isInUse(part) || replacement.isEqualNode(part.pristine ?? part)) continue;
      replace(part, replacement);
    }
  } catch (error) {
    // The stream says what is wrong; here nothing is to be done.
    if (!(error instanceof TypeError)) throw error;
  } finally {
    busy = false;
    if (again && !document.hidden) setTimeout(refresh, 300);
  }
}

function replace(part, replacement) {
  const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  replacement.pristine = replacement.cloneNode(true);
  for (const one of replacement.querySelectorAll("details[id]")) if (open.has(one.id)) one.open = true;
  part.replaceWith(replacement);
  if (focused) document.getElementById(focused)?.focus();
  prepare(replacement);
}

function say(text) {
  if (notice === null) return;
  notice.hidden = text === "";
  if (notice.textContent !== text) notice.textContent = text;
}

function listen(address) {
  const stream = new EventSource(address);
  let number = null;
  stream.addEventListener("pulse", (event) => {
    const pulse = JSON.parse(event.data);
    const before = number;
    number = pulse.number;
    if (pulse.database === "down") {
      say("MongoDB does not answer. What is shown is from before; this page goes on by itself when it is back.");
      number = null;
      return;
    }
    say("");
    // Also at first: something may have changed between the drawing of the page and the opening of the stream.
    if (before !== number) refresh();
  });
  stream.onerror = () => {
    number = null;
    say("The dashboard does not answer: it was stopped, or the connection is lost. Trying again…");
    if (stream.readyState === EventSource.CLOSED) listenAgain(address);
  };
  addEventListener("beforeunload", () => stream.close());
}

/** Open a stream again that was refused. It does not tell why: one that needs a login never comes back by itself. */
async function listenAgain(address) {
  const answer = await fetch("/api/session").catch(() => null);
  if (answer?.status === 401) {
    // What answers a form has no address of its own.
    const here = "answersForm" in document.body.dataset ? "/" : location.pathname + location.search;
    location.assign(`/login?next=${encodeURIComponent(here)}`);
    return;
  }
  setTimeout(() => listen(address), 3000);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && again) refresh();
});

// --- Light and dark

document.getElementById("theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `hts_theme=${root.dataset.theme}; path=/; max-age=31536000; SameSite=Strict`;
  for (const plot of document.querySelectorAll("[data-figure]")) draw(plot);
});

// --- Figures: plotly's JSON from the API, drawn in the colours of the page

// plotly sets the attribute "style" of some elements it draws, which the policy of the pages refuses; the same through
// the style's own interface is allowed.
SVGElement.prototype.setAttribute = function setAttribute(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
};

/** Wait for plotly, whose script is loaded after this one. */
async function plotly() {
  if (window.Plotly) return true;
  const script = document.querySelector("script[src*='/plotly/']");
  if (script === null) return false;
  return new Promise((resolve) => {
    script.addEventListener("load", () => resolve(true));
    script.addEventListener("error", () => resolve(false));
  });
}

async function draw(plot) {
  plot.drawn = Date.now();
  const style = getComputedStyle(document.documentElement);
  const dark = style.colorScheme === "dark";
  const address = new URL(plot.dataset.figure, location.href);
  address.searchParams.set("theme", dark ? "dark" : "light");
  const [answer, loaded] = await Promise.all([fetch(address), plotly()]);
  if (!answer.ok || !loaded) {
    const problem = await answer.json().catch(() => ({ error: "the figure could not be drawn" }));
    plot.textContent = problem.error;
    plot.classList.add("empty");
    return;
  }
  const figure = await answer.json();
  // What a person has zoomed into stays when the values change.
  figure.layout.uirevision = "same";
  plot.beginning = figure.layout.meta?.prefix ?? "";
  await window.Plotly.react(plot, figure.data, figure.layout, { displaylogo: false, responsive: true });
  if (!plot.dataset.ready) {
    plot.dataset.ready = "1";
    plot.on("plotly_click", (event) => {
      const target = event.points?.[0]?.customdata;
      const id = Array.isArray(target) ? target[0] : target;
      if (plot.dataset.opens && typeof id === "string" && id) {
        location.assign(plot.dataset.opens + encodeURIComponent(plot.beginning + id));
      }
    });
  }
}

// --- Selections and forms

function prepare(root) {
  for (const box of root.querySelectorAll("[data-selects]")) {
    const members = () => document.querySelectorAll(`input[type=checkbox][name="${box.dataset.selects}"]`);
    box.addEventListener("change", () => {
      for (const member of members()) member.checked = box.checked;
      count(box.form);
    });
  }
  for (const form of root.querySelectorAll("form[data-counts]")) {
    form.addEventListener("change", () => count(form));
    count(form);
  }
  for (const field of root.querySelectorAll("[data-submits]")) {
    field.addEventListener("change", () => field.form.requestSubmit());
  }
  for (const form of root.querySelectorAll("form[method=get]")) {
    // Filters that are empty do not belong into an address that people share.
    form.addEventListener("formdata", (event) => {
      const filled = [...event.formData.entries()].filter(([, value]) => value !== "");
      for (const name of [...event.formData.keys()]) event.formData.delete(name);
      for (const [name, value] of filled) event.formData.append(name, value);
    });
  }
  for (const plot of root.querySelectorAll("[data-figure]")) {
    // What is folded away has no size yet.
    const folded = plot.closest("details:not([open])");
    if (folded === null) draw(plot);
    else folded.addEventListener("toggle", () => draw(plot), { once: true });
  }
}

function count(form) {
  const name = form.dataset.counts;
  const number = form.querySelectorAll(`input[type=checkbox][name="${name}"]:checked`).length;
  for (const place of form.querySelectorAll("[data-count]")) place.textContent = String(number);
  for (const button of form.querySelectorAll("[data-needs-some]")) button.disabled = number === 0;
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  const search = document.querySelector("input[type=search]");
  if (search !== null) {
    event.preventDefault();
    search.focus();
  }
});

prepare(document);
if (document.body.dataset.live) listen(document.body.dataset.live);
