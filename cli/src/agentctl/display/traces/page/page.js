"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const ROW = 26, TEXT_MAX = 20000, EVENTS_PAGE = 200;
  const byId = (id) => document.getElementById(id);
  const steps = data.steps, run = data.run;
  const began = run.started_at || steps.reduce((least, s) => Math.min(least, first(s) || least), run.finished_at || Date.now());
  const newest = steps.reduce((most, s) => Math.max(most, last(s)), Math.max(run.finished_at || 0, pathEnd()));
  const span = Math.max(1, newest - began);

  // --- texts: whatever a run put into them, they are shown as text ---

  function clean(text) { // signs that turn or hide other signs are shown by their code
    return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (sign) => "\u27e8U+" + sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9");
  }
  function make(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== "") made.textContent = clean(text);
    if (kind) made.className = kind;
    return made;
  }
  function long(text) { // a text of any length; the rest of a huge one on demand
    const whole = String(text), box = make("pre");
    if (whole.length <= TEXT_MAX) { box.textContent = clean(whole); return box; }
    const around = make("div"), more = make("button", "Show all " + whole.length.toLocaleString("en") + " characters");
    box.textContent = clean(whole.slice(0, TEXT_MAX));
    more.type = "button";
    more.addEventListener("click", () => { box.textContent = clean(whole); more.remove(); });
    around.append(box, more);
    return around;
  }
  function time(ms) {
    if (ms < 1000) return (ms >= 10 || Number.isInteger(ms) ? Math.round(ms) : ms.toFixed(1)) + " ms";
    if (ms < 60000) return (ms / 1000).toFixed(2) + " s";
    const seconds = Math.floor(ms / 1000), minutes = Math.floor(seconds / 60);
    if (minutes < 60) return minutes + " m " + String(seconds % 60).padStart(2, "0") + " s";
    return Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " m";
  }
  function money(nano) { return "$" + (nano / 1e9).toFixed(nano && nano < 1e7 ? 6 : 4); }
  function tokens(pair) { return pair[0] || pair[1] ? pair[0].toLocaleString("en") + "+" + pair[1].toLocaleString("en") : ""; }
  function moment(ms) { return ms ? new Date(ms).toISOString().replace("T", " ").replace("Z", " UTC") : ""; }
  function counts(found) { return Object.keys(found || {}).sort().map((name) => name + " " + found[name]).join(", "); }

  // --- times of a step ---

  function first(step) {
    const times = step.attempts.flatMap((a) => [a.queued_at, a.scheduled_at, a.started_at]).filter(Boolean);
    return times.length ? Math.min(...times) : 0;
  }
  function last(step) {
    return step.attempts.reduce((most, a) => Math.max(most, a.finished_at || a.started_at || a.scheduled_at || 0), 0);
  }
  function pathEnd() { return data.path.length ? data.path[data.path.length - 1].ended_at : 0; }
  function newestOf(step) { return step.attempts[step.attempts.length - 1]; }
  function share(ms) { return Math.min(100, Math.max(0, (ms - began) * 100 / span)); }

  // --- the head ---

  function facts() {
    document.title = clean("Trace of " + run.workflow);
    byId("title").textContent = clean(run.workflow + (run.version ? "@" + run.version : ""));
    const pairs = [["run", run.run_id], ["status", run.status], ["started", moment(run.started_at)],
      ["duration", run.finished_at ? time(run.finished_at - run.started_at) : "it goes on"], ["cost", money(run.cost_nano_usd || 0)],
      ["tokens", tokens([run.input_tokens || 0, run.output_tokens || 0])], ["redactions", counts(run.redactions)],
      ["steps", steps.length.toLocaleString("en")], ["trace id", run.trace_id]];
    for (const [name, value] of pairs) {
      if (!value) continue;
      const box = make("div");
      box.append(make("dt", name), make("dd", value, name === "status" ? "t-" + value : ""));
      byId("facts").append(box);
    }
    for (const note of data.notes) byId("notes").append(make("p", note));
  }
  function path() {
    const sums = new Map();
    let whole = 0;
    for (const part of data.path) {
      const ms = part.ended_at - part.started_at;
      sums.set(part.kind, (sums.get(part.kind) || 0) + ms);
      whole += ms;
    }
    byId("path-text").textContent = whole
      ? "This chain of work and waits determined the duration. Its parts sum to " + time(whole) + "."
      : "This trace has no critical path.";
    byId("path-bar").hidden = !whole;
    for (const [kind, ms] of [...sums].sort((one, other) => other[1] - one[1])) {
      const bar = make("div", "", "k-" + kind), item = make("li"), swatch = make("span", "", "swatch k-" + kind);
      bar.style.width = (ms * 100 / whole) + "%";
      byId("path-bar").append(bar);
      item.append(swatch, kind + " " + time(ms) + " (" + (ms * 100 / whole).toFixed(1) + " %)");
      byId("path-legend").append(item);
    }
  }

  // --- the rows: only those in view are in the page ---

  const onPath = new Map();
  for (const part of data.path) if (part.step) onPath.set(part.step, [...(onPath.get(part.step) || []), part]);
  const folded = new Set(), rows = byId("rows"), room = byId("room");
  let shown = [], active = 0, drawn = new Map();
  const texts = steps.map((step) => [step.step, step.run, ...step.attempts.flatMap((a) =>
    [a.status, a.provider, a.model, a.prompt, a.worker, a.error, a.kind, a.reason])].filter(Boolean).join(" ").toLowerCase());
  const hasBelow = steps.map((step, at) => at + 1 < steps.length && steps[at + 1].depth > step.depth);

  function filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = byId("status").value, critical = byId("critical").checked;
    const all = words.length || status || critical, before = shown[active];
    shown = [];
    let hiddenBelow = Infinity;
    steps.forEach((step, at) => {
      if (step.depth > hiddenBelow && !all) return;
      hiddenBelow = Infinity;
      const fits = words.every((word) => texts[at].includes(word)) && (!status || step.attempts.some((a) => a.status === status)) &&
        (!critical || step.critical_ms);
      if (fits) shown.push(at);
      if (folded.has(at)) hiddenBelow = step.depth;
    });
    active = Math.max(0, shown.indexOf(before));
    byId("shown").textContent = shown.length.toLocaleString("en") + " of " + steps.length.toLocaleString("en") + " steps";
    room.style.height = Math.max(1, shown.length) * ROW + "px";
    rows.style.height = Math.min(Math.max(2, shown.length) * ROW + 2, window.innerHeight * 0.62) + "px";
    for (const row of drawn.values()) row.remove();
    drawn = new Map();
    draw();
  }
  function draw() {
    const from = Math.max(0, Math.floor(rows.scrollTop / ROW) - 8);
    const to = Math.min(shown.length, from + Math.ceil(rows.clientHeight / ROW) + 16);
    for (const [place, row] of drawn) if (place < from || place >= to) { row.remove(); drawn.delete(place); }
    for (let place = from; place < to; place++) if (!drawn.has(place)) drawn.set(place, rowOf(place));
    for (const [place, row] of drawn) row.classList.toggle("active", place === active);
    for (const [place, row] of drawn) row.setAttribute("aria-selected", String(place === active));
    if (drawn.has(active)) rows.setAttribute("aria-activedescendant", drawn.get(active).id);
    else rows.removeAttribute("aria-activedescendant");
  }
  function rowOf(place) {
    const at = shown[place], step = steps[at], attempt = newestOf(step), row = make("div", "", "row");
    row.id = "row-" + at;
    row.style.top = place * ROW + "px";
    row.setAttribute("role", "treeitem");
    row.setAttribute("aria-level", String(step.depth + 1));
    row.setAttribute("aria-posinset", String(place + 1));
    row.setAttribute("aria-setsize", String(shown.length));
    if (hasBelow[at]) row.setAttribute("aria-expanded", String(!folded.has(at)));
    const name = make("span", (hasBelow[at] ? (folded.has(at) ? "\u25b8 " : "\u25be ") : "\u00a0\u00a0 ") + step.step, "name");
    name.style.paddingLeft = 6 + Math.min(step.depth, 12) * 14 + "px";
    name.title = clean(step.step);
    if (step.critical_ms) name.append(make("span", " \u25c6", "diamond"));
    const took = attempt.finished_at && first(step) ? time(Math.max(0, attempt.finished_at - first(step))) : "";
    const many = step.attempts.length > 1 ? " \u00d7" + step.attempts.length : "";
    const track = make("span", "", "track");
    for (const bar of bars(step)) track.append(bar);
    row.append(name, make("span", attempt.status + many, "state t-" + attempt.status), make("span", took, "num"),
      make("span", step.cost_nano ? money(step.cost_nano) : "", "num"), track);
    row.addEventListener("click", (event) => {
      active = place;
      if (hasBelow[at] && event.offsetX < 24 + step.depth * 14 && event.target === name) fold(at, !folded.has(at));
      else open(at);
      draw();
    });
    room.append(row);
    return row;
  }
  function bars(step) {
    const made = [];
    const add = (kind, from, to) => {
      if (!from || to < from) return;
      const bar = make("span", "", "bar " + kind);
      bar.style.left = share(from) + "%";
      bar.style.width = share(to) - share(from) + "%";
      made.push(bar);
    };
    for (const attempt of step.attempts) {
      const end = attempt.finished_at || (run.finished_at ? attempt.started_at || attempt.scheduled_at || 0 : newest);
      add("lane", attempt.queued_at, Math.max(attempt.queued_at || 0, attempt.scheduled_at || end));
      add("wait", attempt.scheduled_at, attempt.started_at || end);
      add(attempt.status, attempt.started_at || 0, end);
    }
    if (step.run === run.run_id) for (const part of onPath.get(step.step) || []) add("crit", part.started_at, part.ended_at);
    return made;
  }
  function axis() {
    for (let tick = 0; tick < 5; tick++) {
      const mark = make("span", "+" + time(Math.round(span * tick / 5)));
      mark.style.left = tick * 20 + "%";
      byId("axis").append(mark);
    }
  }
  function fold(at, closed) { if (closed) folded.add(at); else folded.delete(at); filter(); }
  function go(place) {
    active = Math.min(Math.max(0, place), Math.max(0, shown.length - 1));
    const top = active * ROW;
    if (top < rows.scrollTop) rows.scrollTop = top;
    else if (top + ROW > rows.scrollTop + rows.clientHeight) rows.scrollTop = top + ROW - rows.clientHeight;
    draw();
  }
  function key(event) {
    const page = Math.max(1, Math.floor(rows.clientHeight / ROW) - 1), at = shown[active];
    const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: shown.length - 1 };
    if (event.key in moves) go(moves[event.key]);
    else if (event.key === "ArrowLeft" && at !== undefined && hasBelow[at]) fold(at, true);
    else if (event.key === "ArrowRight" && at !== undefined && hasBelow[at]) fold(at, false);
    else if ((event.key === "Enter" || event.key === " ") && at !== undefined) open(at);
    else return;
    event.preventDefault();
  }

  // --- one step ---

  function table(headers, lines, numbers) {
    const made = make("table"), head = make("tr"), top = make("thead"), body = make("tbody");
    headers.forEach((text, at) => { const cell = make("th", text, numbers.has(at) ? "n" : ""); cell.scope = "col"; head.append(cell); });
    top.append(head);
    for (const line of lines) {
      const row = make("tr");
      line.forEach((text, at) => row.append(make("td", text, numbers.has(at) ? "n" : "")));
      body.append(row);
    }
    made.append(top, body);
    return made;
  }
  function open(at) {
    const step = steps[at], body = byId("detail-body");
    body.replaceChildren();
    byId("details-title").textContent = clean(step.step);
    const waits = data.nodes[step.step.split(/[#[@:]/)[0]] || [];
    const lines = [["run", step.run], ["kind", newestOf(step).kind], ["waits for", waits.join(", ")],
      ["cost", step.cost_nano ? money(step.cost_nano) : ""], ["tokens", tokens(step.tokens)],
      ["on the critical path", step.critical_ms ? time(step.critical_ms) : ""]];
    const list = make("dl");
    for (const [name, value] of lines) {
      if (!value) continue;
      const box = make("div");
      box.append(make("dt", name), make("dd", value));
      list.append(box);
    }
    body.append(list);
    for (const attempt of step.attempts) body.append(...attemptOf(attempt));
    const found = data.events.filter((event) => event.run === step.run && event.step === step.step);
    if (found.length) { body.append(make("h3", "Events")); listed(body, found); }
    byId("details").hidden = false;
    byId("details").focus();
  }
  function attemptOf(attempt) {
    const rowsOf = [["status", attempt.status], ["asked its lane", moment(attempt.queued_at)], ["scheduled", moment(attempt.scheduled_at)],
      ["started", moment(attempt.started_at)], ["finished", moment(attempt.finished_at)],
      ["waited", attempt.wait_ms ? time(attempt.wait_ms) : ""], ["worked", attempt.duration_ms ? time(attempt.duration_ms) : ""],
      ["worker", attempt.worker], ["model", attempt.provider ? attempt.provider + "/" + attempt.model : ""], ["prompt", attempt.prompt],
      ["answer", attempt.finish_reason], ["cache", attempt.cache_hit ? "the answer came from the cache" : ""],
      ["tokens", tokens([attempt.input_tokens || 0, attempt.output_tokens || 0])],
      ["cost", attempt.cost_nano_usd ? money(attempt.cost_nano_usd) : ""], ["redactions", counts(attempt.redactions)],
      ["reason", attempt.reason], ["subworkflow's run", attempt.child_run_id]];
    const parts = [make("h3", "Attempt " + (attempt.attempt || 0)), table(["fact", "value"], rowsOf.filter((row) => row[1]), new Set())];
    if (attempt.error) parts.push(make("h4", "Error"), long(attempt.error));
    if (attempt.calls && attempt.calls.length) {
      const lines = attempt.calls.map((call) => [call.provider + "/" + call.model, call.error || call.error_type || call.finish_reason || "",
        tokens([call.input_tokens || 0, call.output_tokens || 0]), call.cost_nano_usd ? money(call.cost_nano_usd) : "",
        call.latency_ms ? time(call.latency_ms) : ""]);
      parts.push(make("h4", "Model calls"), table(["model", "result", "tokens", "cost", "time"], lines, new Set([2, 3, 4])));
    }
    return parts;
  }

  // --- cost, events ---

  function costs() {
    const paid = steps.filter((step) => step.cost_nano || step.tokens[0] || step.tokens[1]);
    paid.sort((one, other) => other.cost_nano - one.cost_nano);
    if (!paid.length) { byId("costs").append(make("p", "No step used a model.")); return; }
    const lines = paid.slice(0, 500).map((step) => [step.step, newestOf(step).model || "", tokens(step.tokens), money(step.cost_nano)]);
    byId("costs").append(table(["step", "model", "tokens in+out", "cost"], lines, new Set([2, 3])));
    if (paid.length > 500) byId("costs").append(make("p", "These are the 500 dearest of " + paid.length + " steps."));
  }
  function listed(place, events) { // a page of events at a time, and a body only once it is asked for
    const box = make("div");
    let next = 0;
    const more = make("button", "");
    more.type = "button";
    const add = () => {
      for (const event of events.slice(next, next + EVENTS_PAGE)) {
        const line = make("details"), at = "+" + time(Math.max(0, event.ts - began));
        line.append(make("summary", at + "  " + event.type + (event.step ? "  " + event.step : "") + "  " + event.stream + " " + event.sequence));
        line.addEventListener("toggle", () => {
          if (line.open && line.children.length < 2)
            line.append(event.body ? long(JSON.stringify(event.body, null, 2)) : make("p", "This file has no body of the event.", "soft"));
        });
        box.append(line);
      }
      next += EVENTS_PAGE;
      more.textContent = "Show more of " + events.length.toLocaleString("en") + " events";
      more.hidden = next >= events.length;
    };
    more.addEventListener("click", add);
    add();
    place.append(box, more);
  }

  // --- wiring ---

  function theme(dark) { document.documentElement.dataset.theme = dark ? "dark" : "light"; }
  theme(window.matchMedia("(prefers-color-scheme: dark)").matches);
  byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));
  for (const status of [...new Set(steps.flatMap((s) => s.attempts.map((a) => a.status)))].sort()) {
    const option = make("option", status);
    option.value = status;
    byId("status").append(option);
  }
  function close() { byId("details").hidden = true; rows.focus(); }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", filter);
  byId("close").addEventListener("click", close);
  rows.addEventListener("scroll", draw);
  rows.addEventListener("keydown", key);
  window.addEventListener("resize", filter);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("details").hidden) close();
    else if (event.key === "/" && !(event.target instanceof HTMLInputElement)) { byId("search").focus(); event.preventDefault(); }
  });
  facts();
  path();
  axis();
  filter();
  costs();
  if (data.events.length) listed(byId("events"), data.events);
  else byId("events").append(make("p", "This file has no events.", "soft"));
  document.documentElement.dataset.ready = "true";
})();
