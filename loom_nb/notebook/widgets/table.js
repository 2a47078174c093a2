// A live table. It says {type: "ready" | "query" | "all" | "open" | "act" | "edit" | "set" | "undo" | "left"}
// and hears {type: "show" | "page" | "all" | "details" | "value" | "set" | "refused" | "receipt" | "problem" |
// "gone"}. The kernel sorts, filters
// and pages; here is a window of the rows. Only text nodes are written, so no word of a model can become
// markup; only what a person does (event.isTrusted) counts as an action.

const MOST = 150; // rows held at once
const AHEAD = 50; // rows kept above and below what is seen
const LEAP = 10; // rows of Page Up and Page Down
const TYPING_MS = 150;
const PATIENCE_MS = 6000;
const LEFT_MS = 15000;
const TYPED_IN = "textarea, select, input[type=text], input[type=search]";
const MOST_LINES = 10; // of a text that is edited
const BUSY = "The kernel has not answered yet: it may be busy. If it was started anew, run the cell again.";

// --- small parts -------------------------------------------------------------------------------

// partsOf, write and VIEW stand in parts.js
const { make, named } = partsOf("loom-table");

// leaves a node alone that says it already, so that nothing is read out twice
function say(node, text) {
  if (node.textContent === text) return;
  node.textContent = "";
  write(node, text);
}

function button(className, text) {
  const node = make("button", className, text);
  node.type = "button";
  return node;
}

const able = (node, isAble) => node.setAttribute("aria-disabled", String(!isAble));
const isAble = (node) => node.getAttribute("aria-disabled") !== "true";
const tidy = (number) => number.toLocaleString("en");

// --- the notebook around it (JupyterLab, Notebook 7; elsewhere nothing of this is there) --------

const SAVED = Symbol.for("loom_nb.tables");

// A file that is saved holds the card of each table as it is now, and no widget that no kernel will know.
function savedIn(model) {
  const notebook = model.widget_manager?.context?.model;
  const whole = notebook?.toJSON;
  if (typeof whole !== "function") return null;
  if (!notebook[SAVED]) {
    const saved = (notebook[SAVED] = new Map());
    notebook.toJSON = function (...args) {
      const file = whole.apply(this, args);
      for (const cell of file.cells ?? []) {
        for (const output of cell.outputs ?? []) {
          const id = output.metadata?.loom?.table;
          if (!id || !output.data) continue;
          delete output.data[VIEW];
          Object.assign(output.data, saved.get(id));
        }
      }
      withoutState(file);
      return file;
    };
  }
  return notebook[SAVED];
}

function withoutState(file) {
  const kept = file.metadata?.widgets?.["application/vnd.jupyter.widget-state+json"];
  const state = kept?.state;
  if (!state) return;
  for (const [id, one] of Object.entries(state)) {
    if (!String(one.state?._anywidget_id ?? "").startsWith("loom_nb.")) continue;
    delete state[String(one.state.layout ?? "").replace("IPY_MODEL_", "")];
    delete state[id];
  }
  if (!Object.keys(state).length) delete file.metadata.widgets;
}

// The output of a table, wherever it stands now.
function* outputsOf(model, id) {
  const cells = model.widget_manager?.context?.model?.cells;
  for (let place = 0; place < (cells?.length ?? 0); place++) {
    const cell = cells.get(place);
    for (let at = 0; at < (cell.outputs?.length ?? 0); at++) {
      const output = cell.outputs.get(at).toJSON();
      if (output.metadata?.loom?.table === id) yield { cell, at, output };
    }
  }
}

// After the page was loaded anew the card of the file stands there: the table takes its place.
function putBack(model, id) {
  for (const { cell, at, output } of outputsOf(model, id)) {
    if (cell.trusted === false || output.data?.[VIEW]) continue;
    const view = { version_major: 2, version_minor: 0, model_id: id };
    cell.outputs.set(at, { ...output, data: { [VIEW]: view, ...output.data } });
  }
}

function becomeCard(model, id, saved) {
  for (const { cell, at, output } of outputsOf(model, id)) {
    const { [VIEW]: _, ...data } = { ...output.data, ...saved };
    cell.outputs.set(at, { ...output, data });
  }
}

// --- the head: title, facts, bar ---------------------------------------------------------------

function drawHead(t) {
  const { title, facts, bar } = t.head;
  say(t.title, title);
  t.facts.replaceChildren(...drawFacts(facts));
  t.bar.replaceChildren(...(bar ? drawBar(bar) : []));
  t.bar.hidden = !bar;
  drawCaption(t);
}

function drawFacts(facts) {
  return facts.flatMap(([name, value]) => [make("div", "name", name), make("div", "value", value)]);
}

function drawCaption(t) {
  const column = t.head.columns.find((one) => one.name === t.query.sort);
  const end = column?.number ? ["smallest", "largest"] : ["first", "last"];
  say(t.caption, t.told || (column ? `by ${column.title}, ${end[Number(t.query.down)]} first` : t.head.caption));
}

function drawBar({ label, segments, mark, mark_words: markWords }) {
  const whole = segments.reduce((sum, one) => sum + one.size, 0) || 1;
  const strip = make("div", "strip");
  strip.setAttribute("role", "img");
  const words = segments.map((one) => `${one.name} ${one.words}`);
  strip.setAttribute("aria-label", [label, ...words, markWords].filter(Boolean).join(", "));
  for (const one of segments) {
    const part = make("div", `part loom-table-tone${one.tone}`);
    part.style.flexGrow = String(one.size / whole);
    part.title = `${one.name}: ${one.words}`;
    strip.append(part);
  }
  if (mark > 0 && mark < 1) {
    const line = make("div", "mark");
    line.style.left = `${mark * 100}%`;
    line.title = markWords;
    strip.append(line);
  }
  const legend = make("ul", "legend");
  legend.setAttribute("aria-hidden", "true"); // the bar says the same words
  for (const one of segments) {
    const item = make("li");
    item.append(make("span", `swatch loom-table-tone${one.tone}`), make("strong", "", one.name), ` ${one.words}`);
    legend.append(item);
  }
  if (markWords) {
    const item = make("li");
    item.append(make("span", "tick"), markWords);
    legend.append(item);
  }
  return [make("p", "label", label), strip, legend];
}

// --- what is looked for ------------------------------------------------------------------------

function drawFind(t) {
  const { columns, values } = t.head;
  if (!t.search) {
    t.search = make("input", "control loom-table-search");
    t.search.type = "search";
    t.search.placeholder = t.head.placeholder;
    t.search.autocomplete = "off";
    t.search.spellcheck = false;
    t.search.setAttribute("aria-label", t.head.paged ? "Search" : "Filter by words");
    t.search.value = t.query.text;
    let typing = 0;
    t.search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => change(t, { text: t.search.value }), TYPING_MS);
    });
    t.matching = make("span", "matching");
    t.matching.setAttribute("role", "status");
    t.find.append(t.search);
    t.selects = new Map();
    for (const column of columns.filter((one) => one.choose)) drawSelect(t, column, `Filter by ${column.title}`);
    for (const choice of t.head.choices) drawSelect(t, choice, choice.label);
    t.find.append(t.matching);
  }
  for (const choice of t.head.choices) {
    const select = t.selects.get(choice.name);
    select.replaceChildren(...choice.options.map(([value, label]) => new Option(label, value)));
    select.value = t.query.chosen[choice.name] ?? "";
  }
  for (const column of columns.filter((one) => one.choose)) {
    fillSelect(t, t.selects.get(column.name), column.name, values[column.name] ?? []);
  }
}

function drawSelect(t, column, label) {
  const select = make("select", "control");
  select.setAttribute("aria-label", label);
  select.addEventListener("change", () => {
    const chosen = { ...t.query.chosen };
    if (select.value) chosen[column.name] = select.value;
    else delete chosen[column.name];
    change(t, { chosen });
  });
  t.selects.set(column.name, select);
  t.find.append(select);
}

function fillSelect(t, select, name, values) {
  const title = t.head.columns.find((one) => one.name === name).title;
  const chosen = t.query.chosen[name] ?? "";
  const known = values.some(([value]) => value === chosen) || !chosen ? values : [...values, [chosen, 0]];
  select.replaceChildren(
    new Option(`any ${title}`, ""),
    ...known.map(([value, many]) => new Option(`${value} (${tidy(many)})`, value)),
  );
  select.value = chosen;
}

// --- asking the kernel for rows: one question at a time ------------------------------------------

function change(t, what) {
  Object.assign(t.query, what, { start: 0 });
  t.scroll.scrollTop = 0;
  if (what.sort === undefined) {
    t.at = null;
    choose(t, []); // nothing that is not seen is acted upon
  }
  sortMarks(t);
  ask(t);
}

function ask(t) {
  if (t.number && !t.isLate) {
    t.again = true; // the answer to come is of something else by now
    return;
  }
  t.numbers += 1;
  t.number = t.numbers;
  t.send({ type: "query", number: t.number, query: { ...t.query, count: MOST } });
  waiting(t);
}

function waiting(t) {
  clearTimeout(t.patience);
  t.section.setAttribute("aria-busy", "true");
  t.isLate = false;
  t.patience = setTimeout(() => {
    t.isLate = true; // what comes late is taken all the same
    t.acting = false;
    t.section.setAttribute("aria-busy", "false");
    drawActions(t);
    tell(t, BUSY);
  }, PATIENCE_MS);
}

function settled(t) {
  if (t.number || t.acting) return;
  clearTimeout(t.patience);
  t.isLate = false;
  if (t.word.textContent === BUSY) tell(t, "");
  t.section.setAttribute("aria-busy", "false");
  drawActions(t);
}

function taken(t, page) {
  if (page.number !== t.number) return;
  t.number = 0;
  if (t.again) {
    t.again = false;
    ask(t);
    return;
  }
  drawRows(t, page);
  settled(t);
  requestAnimationFrame(() => scrolled(t)); // it may have been scrolled on meanwhile
}

// --- the rows ----------------------------------------------------------------------------------

function drawHeading(t) {
  const row = make("tr");
  const corner = make("th", "tick");
  corner.scope = "col";
  t.every = document.createElement("input");
  t.every.type = "checkbox";
  t.every.setAttribute("aria-label", "Choose all that are found");
  t.every.addEventListener("change", () => (t.every.checked ? chooseAll(t) : choose(t, [])));
  corner.append(t.every);
  row.append(corner);
  const group = make("colgroup");
  const first = make("col", "tick");
  first.style.width = "2.3em";
  group.append(first);
  t.sorts = new Map();
  for (const column of t.head.columns) {
    const cell = make("th", column.number ? "number" : "");
    cell.scope = "col";
    if (column.sorts) {
      const press = button("sort", column.title);
      const arrow = make("span", "arrow");
      arrow.setAttribute("aria-hidden", "true");
      press.append(arrow);
      press.addEventListener("click", () => sortBy(t, column));
      cell.append(press);
      t.sorts.set(column.name, { cell, arrow });
    } else cell.append(make("span", "unsorted", column.title));
    cell.classList.add(`loom-table-${column.shown}`);
    row.append(cell);
    const wide = make("col", column.shown);
    if (column.width) wide.style.width = `${column.width}em`;
    group.append(wide);
  }
  t.table.dataset.acts = t.head.actions.length ? "yes" : "no";
  widen(t);
  const head = make("thead");
  head.append(row);
  t.table.append(group, head);
  sortMarks(t);
}

// as wide as the columns that are there now need
function widen(t) {
  const first = t.head.actions.length ? 2.3 : 0;
  t.table.style.minWidth = `${present(t).reduce((sum, one) => sum + (one.width || 11), first)}em`;
}

// by this column, then the other way round, then in the natural order again
function sortBy(t, column) {
  const first = column.number;
  if (t.query.sort !== column.name) change(t, { sort: column.name, down: first });
  else if (t.query.down === first) change(t, { down: !first });
  else change(t, { sort: "", down: false });
}

function sortMarks(t) {
  for (const [name, { cell, arrow }] of t.sorts ?? []) {
    const on = t.query.sort === name;
    cell.setAttribute("aria-sort", on ? (t.query.down ? "descending" : "ascending") : "none");
    arrow.textContent = on ? (t.query.down ? " \u25BC" : " \u25B2") : "";
  }
  drawCaption(t);
}

function drawRows(t, page) {
  const hadFocus = t.body.contains(document.activeElement);
  const held = anchor(t);
  const top = t.scroll.scrollTop;
  const known = new Map([...t.body.children].filter((tr) => tr.dataset.row).map((tr) => [tr.dataset.row, tr]));
  const place = t.start + Math.max(0, t.rows.findIndex((row) => row.id === t.at));
  const isScrolled = page.start !== t.start && !t.renewed;
  Object.assign(t, { rows: page.rows, start: page.start, count: page.matching, told: page.caption ?? "" });
  t.query.start = page.start;
  t.table.dataset.asked = isAsked(t) ? "yes" : "no";
  widen(t);
  for (const tr of t.details.values()) tr.firstElementChild.colSpan = across(t);
  drawCaption(t);
  renewDetails(t);
  const drawn = t.rows.map((row, at) => fillRow(t, known.get(row.id) ?? makeRow(t, row.id), row, page.start + at));
  const nodes = [spacer(t, page.start), ...drawn.flatMap((tr) => (t.details.has(tr.dataset.row) ? [tr, t.details.get(tr.dataset.row)] : [tr]))];
  nodes.push(spacer(t, page.matching - page.start - page.rows.length));
  keep(t.body, nodes);
  if (drawn.length) t.height = drawn[0].offsetHeight || t.height;
  t.body.firstElementChild.firstElementChild.style.height = `${page.start * t.height}px`;
  t.body.lastElementChild.firstElementChild.style.height = `${(page.matching - page.start - page.rows.length) * t.height}px`;
  t.scroll.scrollTop = top; // a browser that lays out in the middle of this has cut it short
  release(t, held);
  if (!t.rows.some((row) => row.id === t.at)) {
    const near = Math.min(Math.max(place - t.start, 0), t.rows.length - 1);
    t.at = (isScrolled ? anchor(t)?.row : null) ?? t.rows[near]?.id ?? null;
  }
  house(t);
  t.table.setAttribute("aria-rowcount", String(page.matching + 1));
  const [one, many] = t.head.noun;
  const total = `${tidy(t.head.total)} ${t.head.total === 1 ? one : many}`;
  say(t.matching, page.words || (page.matching === t.head.total ? total : `${tidy(page.matching)} of ${total}`));
  t.empty.hidden = page.matching > 0;
  if (t.go !== null) arrive(t);
  else if (hadFocus && !t.body.contains(document.activeElement)) focusRow(t, t.at, isScrolled);
  marks(t);
}

// what is open is fetched anew after a change, and forgotten where its row is gone
function renewDetails(t) {
  if (!t.renewed) return;
  t.renewed = false;
  for (const id of [...t.details.keys()]) {
    if (t.rows.some((row) => row.id === id)) t.send({ type: "open", row: id });
    else t.details.delete(id);
  }
}

// the same nodes in this order, those that stay untouched
function keep(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null);
  });
}

// columns that are there now
function present(t) {
  const without = isAsked(t) ? "unasked" : "asked";
  return t.head.columns.filter((column) => column.shown !== without);
}

// how many, with that of the ticks, which is there where something can be done to what is ticked
const across = (t) => present(t).length + (t.head.actions.length ? 1 : 0);

const isAsked = (t) => t.query.text.trim() !== "";

function spacer(t, rows) {
  const tr = make("tr", "spacer");
  tr.setAttribute("aria-hidden", "true");
  const cell = make("td");
  cell.colSpan = across(t);
  cell.style.height = `${Math.max(0, rows) * t.height}px`;
  tr.append(cell);
  return tr;
}

// what is seen stays where it is when rows above it come and go
function anchor(t) {
  const top = t.scroll.scrollTop;
  const tr = [...t.body.children].find((one) => one.dataset.row && one.offsetTop + one.offsetHeight > top);
  return tr ? { row: tr.dataset.row, by: tr.offsetTop - top } : null;
}

function release(t, held) {
  const tr = held && rowNode(t, held.row);
  if (tr && t.scroll.scrollTop > 0) t.scroll.scrollTop = tr.offsetTop - held.by;
}

const rowNode = (t, id) => [...t.body.children].find((tr) => tr.dataset.row === id) ?? null;

function makeRow(t, id) {
  const tr = make("tr", "row");
  tr.dataset.row = id;
  const tick = make("td", "tick");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.tabIndex = -1;
  box.setAttribute("aria-label", `Choose ${id}`);
  tick.append(box);
  tr.append(tick);
  t.head.columns.forEach((column, at) => {
    const cell = make(at ? "td" : "th", column.number ? "number" : "");
    if (!at) cell.scope = "row";
    cell.classList.add(`loom-table-${column.shown}`);
    if (column.edits) cell.dataset.column = column.name;
    if (!at && t.head.opens) {
      const opener = button("opener");
      opener.tabIndex = -1;
      opener.setAttribute("aria-expanded", "false");
      const arrow = make("span", "chevron");
      arrow.setAttribute("aria-hidden", "true");
      opener.append(arrow, make("span"));
      cell.append(opener);
    }
    tr.append(cell);
  });
  return tr;
}

function fillRow(t, tr, row, number) {
  tr.setAttribute("aria-rowindex", String(number + 2));
  tr.classList.toggle("loom-table-quiet", row.quiet);
  row.cells.forEach((words, at) => {
    const cell = tr.children[at + 1];
    const column = t.head.columns[at];
    const target = cell.querySelector("button")?.lastElementChild ?? cell;
    if (column.edits) fixed(cell, !row.can.includes("edit"));
    if (t.editor?.cell === cell) return; // what is being typed there stays
    const hint = row.hints[at] ?? "";
    const all = [words, hint, row.tone, column.meter ? row.parts : ""].join("\n");
    if (cell.dataset.all === all) return;
    cell.dataset.all = all;
    cell.dataset.words = words;
    cell.title = hint || words;
    if (hint) cell.setAttribute("aria-label", hint);
    else cell.removeAttribute("aria-label");
    target.textContent = "";
    if (column.meter && row.parts.length) target.append(strip(row.parts));
    if (t.head.columns[at].swatch && row.tone) target.append(make("span", `swatch loom-table-tone${row.tone}`));
    write(target, words);
  });
  return tr;
}

function fixed(cell, isFixed) {
  if (isFixed) cell.removeAttribute("tabindex");
  else cell.tabIndex = -1;
  cell.classList.toggle("loom-table-editable", !isFixed);
}

// what a number is made of, beside it: its words say the same
function strip(parts) {
  const node = make("span", "meter");
  node.setAttribute("aria-hidden", "true");
  for (const [size, tone] of parts) {
    const part = make("span", `tone${tone}`);
    part.style.width = `${Math.max(0, Math.min(1, size)) * 100}%`;
    node.append(part);
  }
  return node;
}

// which row has the focus when one comes with Tab, and which are chosen
function marks(t) {
  for (const tr of t.body.children) {
    const id = tr.dataset.row;
    if (!id) continue;
    tr.tabIndex = id === t.at ? 0 : -1;
    const chosen = t.chosen.has(id);
    tr.setAttribute("aria-selected", String(chosen));
    tr.querySelector("input").checked = chosen;
  }
  const all = t.rows.length > 0 && t.rows.every((row) => t.chosen.has(row.id)) && t.chosen.size >= t.count;
  t.every.checked = all;
  t.every.indeterminate = !all && t.chosen.size > 0;
  drawActions(t);
}

// --- moving through them -----------------------------------------------------------------------

function focusRow(t, id, inPlace = false) {
  const tr = rowNode(t, id);
  if (!tr) return;
  t.at = id;
  marks(t);
  tr.focus({ preventScroll: true });
  if (inPlace) return;
  const { scroll } = t;
  const top = tr.offsetTop - t.table.tHead.offsetHeight;
  if (top < scroll.scrollTop) scroll.scrollTop = top;
  else if (tr.offsetTop + tr.offsetHeight > scroll.scrollTop + scroll.clientHeight) {
    scroll.scrollTop = tr.offsetTop + tr.offsetHeight - scroll.clientHeight;
  }
}

// to a row by its number; where it is not here yet, its rows are asked for
function go(t, number) {
  const to = Math.max(0, Math.min(t.count - 1, number));
  t.go = to;
  if (to >= t.start && to < t.start + t.rows.length) return arrive(t);
  t.query.start = Math.max(0, to - MOST / 2);
  ask(t);
}

function arrive(t) {
  const row = t.rows[t.go - t.start];
  t.go = null;
  if (row) focusRow(t, row.id);
}

function scrolled(t) {
  if (t.number || !t.count || t.go !== null) return;
  const top = t.scroll.scrollTop;
  const inside = [...t.body.children].find((tr) => tr.dataset.row && tr.offsetTop + tr.offsetHeight > top);
  const last = t.body.lastElementChild;
  const isHere = inside && inside.offsetTop <= top + t.scroll.clientHeight && t.rows.length;
  const seen = isHere ? t.start + t.rows.findIndex((row) => row.id === inside.dataset.row) : Math.floor(top / t.height);
  const fits = Math.ceil(t.scroll.clientHeight / t.height);
  const end = t.start + t.rows.length;
  const isLow = end < t.count && (seen + fits + AHEAD / 2 > end || (last && last.offsetTop < top + t.scroll.clientHeight));
  const isHigh = t.start > 0 && seen - AHEAD / 2 < t.start;
  if (!isLow && !isHigh) return;
  t.query.start = Math.max(0, Math.min(seen - AHEAD, t.count - MOST));
  if (t.query.start !== t.start) ask(t);
}

// --- choosing ----------------------------------------------------------------------------------

function choose(t, ids) {
  t.chosen = new Set(ids);
  marks(t);
}

function toggle(t, id) {
  if (t.chosen.has(id)) t.chosen.delete(id);
  else t.chosen.add(id);
  t.from = id;
  marks(t);
}

// from the last one that was chosen to this one, as far as they are here
function chooseTo(t, id) {
  const places = [t.from ?? t.at, id].map((one) => t.rows.findIndex((row) => row.id === one));
  if (places.includes(-1)) return toggle(t, id);
  const [low, high] = [Math.min(...places), Math.max(...places)];
  for (const row of t.rows.slice(low, high + 1)) t.chosen.add(row.id);
  marks(t);
}

function chooseAll(t) {
  t.send({ type: "all", query: { ...t.query, count: 1 } });
}

// --- one row in full ---------------------------------------------------------------------------

function open(t, id) {
  if (!t.head.opens || !id) return;
  const opener = rowNode(t, id)?.querySelector("button");
  if (t.details.has(id)) {
    const had = t.details.get(id).contains(document.activeElement);
    t.details.get(id).remove();
    t.details.delete(id);
    opener?.setAttribute("aria-expanded", "false");
    if (had) focusRow(t, id);
    return;
  }
  const tr = make("tr", "details");
  const cell = make("td");
  cell.colSpan = across(t);
  cell.append(make("p", "fetching", "Fetching\u2026"));
  tr.append(cell);
  t.details.set(id, tr);
  rowNode(t, id)?.after(tr);
  opener?.setAttribute("aria-expanded", "true");
  t.reading = t.head.paged ? id : null;
  t.send({ type: "open", row: id });
}

function drawDetails(t, id, { facts, texts, meters }) {
  const cell = t.details.get(id)?.firstElementChild;
  if (!cell) return;
  const list = make("div", "facts");
  list.append(...drawFacts(facts));
  const whys = make("div", "sides");
  whys.append(...meters.map(([label, bars]) => drawMeters(label, bars)));
  const sides = make("div", "sides");
  for (const [label, text] of texts) {
    const side = make("div", "side");
    const shown = make("pre", "text", text);
    shown.tabIndex = 0;
    shown.setAttribute("role", "region");
    shown.setAttribute("aria-label", `${id} ${label}`.trim());
    if (label) side.append(make("p", "label", label));
    side.append(shown);
    sides.append(side);
  }
  cell.replaceChildren(...(texts.length ? [sides] : []), ...(meters.length ? [whys] : []), list);
  if (t.reading === id) {
    t.reading = null;
    const why = meters.flatMap(([label, bars]) => [label, ...bars.map((one) => `${one.name} ${one.value.toFixed(2)}`)]);
    tell(t, `${id}: ${[...why, ...facts.map((pair) => pair.join(": "))].slice(0, 8).join(", ")}`, { quiet: true });
  }
}

// numbers from 0 to 1, each with its bar and where it comes from
function drawMeters(label, bars) {
  const side = make("div", "side");
  side.append(make("p", "label", label));
  const list = make("div", "meters");
  list.setAttribute("role", "list");
  list.setAttribute("aria-label", label);
  for (const { name, value, words, tone } of bars) {
    const item = make("div", "measure");
    item.setAttribute("role", "listitem");
    const bar = make("span", "meter");
    bar.setAttribute("aria-hidden", "true");
    const part = make("span", `tone${tone}`);
    part.style.width = `${value * 100}%`;
    bar.append(part);
    item.append(make("span", tone ? "" : "sum", name), bar, make("span", "number", value.toFixed(2)), make("span", "name", words));
    list.append(item);
  }
  side.append(list);
  return side;
}

// --- acting ------------------------------------------------------------------------------------

// what an action is done to: what is chosen, else the row that has, or had, the focus
function target(t) {
  return t.chosen.size ? [...t.chosen] : t.at ? [t.at] : [];
}

function takes(t, action, ids) {
  if (!ids.length || (action.one && ids.length > 1)) return false;
  const here = new Map(t.rows.map((row) => [row.id, row]));
  return ids.some((id) => !here.has(id) || here.get(id).can.includes(action.name));
}

function whyNot(t, ids) {
  const row = ids.length === 1 && t.rows.find((one) => one.id === ids[0]);
  return (row && row.why) || (ids.length ? "not possible for what is chosen" : "choose something first");
}

function drawActions(t) {
  if (!t.acts) return;
  const ids = target(t);
  const [one, many] = t.head.noun;
  const words = ids.length > 1 ? `${tidy(ids.length)} ${many}` : (ids[0] ?? `no ${one}`);
  say(t.acts.label, `With ${words}:`);
  for (const { action, press } of t.acts.buttons) able(press, !t.acting && takes(t, action, ids));
}

function makeActions(t) {
  if (t.acts || !t.head.actions.length) return;
  const label = make("span", "target");
  t.foot.setAttribute("role", "group");
  t.foot.setAttribute("aria-labelledby", named(label));
  t.foot.append(label);
  const buttons = t.head.actions.map((action) => {
    const press = button("button", action.label);
    press.title = action.says;
    if (action.key) {
      const key = make("kbd", "key", action.key);
      key.setAttribute("aria-hidden", "true");
      press.append(" ", key);
      press.setAttribute("aria-keyshortcuts", action.key.length === 1 && action.key !== action.key.toLowerCase() ? `Shift+${action.key}` : action.key);
    }
    press.addEventListener("click", (event) => begin(t, event, action));
    t.foot.append(press);
    return { action, press };
  });
  t.acts = { label, buttons };
}

function begin(t, event, action) {
  const ids = target(t);
  if (!event.isTrusted || t.acting) return;
  if (!takes(t, action, ids)) return tell(t, `${action.label}: ${whyNot(t, ids)}.`, { problem: true });
  if (action.choices.length && chooseIn(t, action, ids)) return undefined;
  if (action.asks) return askFor(t, action, ids);
  act(t, action, ids, "");
}

function act(t, action, ids, text) {
  t.acting = true;
  tell(t, "");
  t.send({ type: "act", action: action.name, rows: ids, text });
  drawActions(t);
  waiting(t);
}

// one of a few, in the cell of the row itself; false where that row is not here
function chooseIn(t, action, ids) {
  const id = ids.includes(t.at) ? t.at : ids.find((one) => rowNode(t, one));
  const place = t.head.columns.findIndex((column) => column.name === action.initial);
  const cell = rowNode(t, id)?.children[place + 1];
  if (!cell) return false;
  const [, many] = t.head.noun;
  const select = make("select", "control loom-table-choice");
  select.setAttribute("aria-label", `${action.asks} ${ids.length > 1 ? `${tidy(ids.length)} ${many}` : id}`);
  select.append(new Option(cell.dataset.words, ""), ...action.choices.map(([value, label]) => new Option(label, value)));
  const before = [...cell.childNodes];
  let isOver = false;
  let byMouse = false;
  const leave = (stays) => {
    if (isOver) return;
    isOver = true;
    if (select.isConnected) cell.replaceChildren(...before);
    if (stays) focusRow(t, id);
  };
  const done = (event) => {
    const { value } = select;
    const isMeant = event.isTrusted && value && !isOver;
    leave(true);
    if (isMeant) act(t, action, ids, value);
    else tell(t, "");
  };
  select.addEventListener("pointerdown", () => (byMouse = true));
  select.addEventListener("change", (event) => byMouse && done(event));
  select.addEventListener("keydown", (event) => {
    byMouse = false; // the arrow keys change what is chosen before it is meant
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape") leave(true);
    else setTimeout(() => done(event), 0);
  });
  select.addEventListener("blur", () => setTimeout(() => leave(false), 0));
  cell.replaceChildren(select);
  select.focus();
  tell(t, `${action.label}: choose with the arrow keys, Enter sets it, Esc leaves it.`);
  return true;
}

// one line of text, in place of the buttons
function askFor(t, action, ids) {
  const form = make("form", "ask");
  const label = make("label", "label", action.asks);
  const line = make("input", "control");
  line.type = "text";
  line.autocomplete = "off";
  label.htmlFor = named(line);
  const place = t.head.columns.findIndex((column) => column.name === action.initial);
  line.value = t.rows.find((row) => row.id === ids[0])?.cells[place] ?? "";
  const done = button("button", action.label);
  done.type = "submit";
  const no = button("button", "Cancel");
  const leave = () => {
    form.remove();
    focusRow(t, t.at);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!event.isTrusted) return;
    act(t, action, ids, line.value);
    leave();
  });
  no.addEventListener("click", leave);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
  });
  form.append(label, line, done, no);
  t.section.querySelector(".loom-table-ask")?.remove();
  t.foot.after(form);
  line.focus();
  line.select();
}

function undo(t, event) {
  if (!event.isTrusted || t.acting || t.undo.hidden) return;
  t.acting = true;
  const had = document.activeElement === t.undo;
  t.undo.hidden = true;
  if (had) focusRow(t, t.at);
  t.send({ type: "undo" });
  waiting(t);
}

function tell(t, text, { back = [], problem = false, quiet = false } = {}) {
  t.spoken.textContent = quiet ? text : "";
  if (quiet) return;
  t.word.className = problem ? "loom-table-word loom-table-problem" : "loom-table-word";
  t.word.textContent = "";
  write(t.word, problem ? `\u2717 ${text}` : text);
  back.forEach((line, at) => {
    t.word.append(at ? " \u00b7 " : problem ? ". Try " : " \u00b7 by hand: ");
    t.word.append(make("code", "", line));
  });
}

function answered(t, text, more, hasUndo) {
  t.acting = false;
  tell(t, text, more);
  if (hasUndo !== undefined) t.undo.hidden = !hasUndo;
  settled(t);
}

// --- editing a cell where it stands ---------------------------------------------------------------

const editable = (cell) => cell?.classList.contains("loom-table-editable");
const columnOf = (t, name) => t.head.columns.find((one) => one.name === name);

// the kernel is asked what the cell holds in full, and as of which version of its row
function edit(t, cell, event) {
  if (!event.isTrusted || !editable(cell)) return;
  const { column } = cell.dataset;
  const { row } = cell.closest("tr").dataset;
  if (t.editor?.row === row && t.editor.column === column) return t.editor.line.focus();
  if (t.editor) return tell(t, `${t.editor.row} ${t.editor.column} is still being edited: Enter keeps it, Esc leaves it.`, { problem: true });
  t.wanted = { row, column };
  t.send({ type: "edit", row, column });
}

function begun(t, { row, column, value, was }) {
  if (t.editor || t.wanted?.row !== row || t.wanted.column !== column) return;
  t.wanted = null;
  if (columnOf(t, column).edits === "flag") {
    t.acting = true;
    t.send({ type: "set", row, column, value: value === "yes" ? "no" : "yes", was });
    return waiting(t);
  }
  t.editor = makeEditor(t, row, column, value, was);
  house(t);
  t.editor.line.focus();
  t.editor.line.select();
  tell(t, "Enter keeps it, Esc leaves it as it was.");
}

function makeEditor(t, row, column, value, was) {
  const node = make("div", "editor");
  const isText = columnOf(t, column).edits === "text";
  const line = make(isText ? "textarea" : "input", "control");
  if (!isText) line.type = "text";
  line.value = value;
  line.autocomplete = "off";
  line.setAttribute("aria-label", `${columnOf(t, column).title} of ${row}`);
  const trouble = make("div", "trouble");
  trouble.setAttribute("role", "alert");
  line.setAttribute("aria-describedby", named(trouble));
  const e = { row, column, was, node, line, trouble, cell: null, value };
  const fit = () => {
    if (!isText) return;
    line.rows = Math.max(1, Math.min(MOST_LINES, line.value.split("\n").length));
    while (line.rows < MOST_LINES && line.scrollHeight > line.clientHeight + 2) line.rows += 1;
  };
  line.addEventListener("input", fit);
  line.addEventListener("keydown", (event) => {
    if (!event.isTrusted || event.isComposing) return;
    if (event.key === "Escape") leaveEditor(t);
    else if (event.key === "Enter" && !(event.shiftKey && isText)) keepEdit(t);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  node.append(line, trouble);
  e.fit = fit;
  return e;
}

// in its cell; where that is scrolled away or gone, below the table: what was typed is never lost
function house(t) {
  const e = t.editor;
  if (!e) return;
  const place = t.head.columns.findIndex((column) => column.name === e.column) + 1;
  const cell = rowNode(t, e.row)?.children[place] ?? null;
  if (cell ? e.cell === cell && cell.contains(e.node) : t.homeless.contains(e.node)) return;
  const had = e.node.contains(document.activeElement);
  restore(e);
  e.cell = cell;
  t.homeless.hidden = cell !== null;
  if (cell) {
    delete cell.dataset.all;
    cell.classList.add("loom-table-edited");
    cell.replaceChildren(e.node);
  } else t.homeless.replaceChildren(make("p", "label", `still being edited: ${e.row} ${e.column}`), e.node);
  e.fit();
  if (had) e.line.focus({ preventScroll: true });
}

function restore(e) {
  const { cell } = e;
  if (!cell) return;
  cell.classList.remove("loom-table-edited");
  e.node.remove();
  cell.textContent = "";
  write(cell, cell.dataset.words ?? "");
}

function keepEdit(t) {
  const e = t.editor;
  if (t.acting) return;
  if (e.line.value === e.value && !e.refused) return leaveEditor(t);
  t.acting = true;
  e.line.readOnly = true;
  t.send({ type: "set", row: e.row, column: e.column, value: e.line.value, was: e.was });
  waiting(t);
}

function leaveEditor(t) {
  const e = t.editor;
  if (!e) return;
  t.editor = null;
  restore(e);
  e.node.remove();
  t.homeless.hidden = true;
  tell(t, "");
  focusCell(t, e.row, e.column);
}

// the kernel has taken it: a receipt follows
function keptEdit(t, { row, column }) {
  const had = t.editor?.node.contains(document.activeElement);
  if (t.editor?.row === row && t.editor.column === column) {
    const e = t.editor;
    t.editor = null;
    restore(e);
    e.node.remove();
    t.homeless.hidden = true;
  }
  if (had) focusCell(t, row, column);
}

// what is wrong stands at the cell, and what was typed stays there
function refused(t, { row, column, text, fixes, now, was }) {
  t.acting = false;
  const e = t.editor;
  if (e?.row !== row || e.column !== column) {
    tell(t, text, { back: fixes, problem: true });
    return settled(t);
  }
  e.refused = true;
  e.line.readOnly = false;
  e.trouble.replaceChildren(make("span", "", `\u2717 ${text}`));
  if (now !== undefined) offerBoth(t, e, now, was);
  else if (fixes.length) e.trouble.append(make("code", "", fixes[0]));
  tell(t, "");
  e.line.focus();
  settled(t);
}

function offerBoth(t, e, now, was) {
  const mine = button("button", "Keep mine");
  mine.addEventListener("click", (event) => {
    if (!event.isTrusted) return;
    e.was = was;
    keepEdit(t);
  });
  const theirs = button("button", "Take theirs");
  theirs.addEventListener("click", () => leaveEditor(t));
  e.trouble.append(make("div", "label", "it says now"), make("pre", "text", now || "(nothing)"), mine, " ", theirs);
}

function focusCell(t, id, column) {
  const cell = rowNode(t, id)?.querySelector(`[data-column="${CSS.escape(column)}"]`);
  focusRow(t, id);
  if (editable(cell)) cell.focus({ preventScroll: true });
}

// from cell to cell of a row; to the left of the first is the row itself
function sideways(t, tr, cell, by) {
  const cells = [...tr.children].filter((one) => editable(one) && one.offsetParent);
  const next = cells[cells.indexOf(cell) + by];
  if (next) next.focus();
  else if (by < 0) focusRow(t, tr.dataset.row);
}

// --- keys --------------------------------------------------------------------------------------

// The notebook's own shortcuts ("dd" deletes a cell) must not see keys meant for the table.
function onKey(t, event) {
  const command = event.ctrlKey || event.metaKey;
  if (event.key !== "Tab" && (!command || ["Enter", "a", "z"].includes(event.key))) event.stopPropagation();
  if (!event.isTrusted || event.isComposing || event.altKey) return;
  const tr = event.target.closest("tr");
  if (event.target.matches("pre, pre *") || event.target.matches(TYPED_IN)) {
    if (event.key === "Escape" && event.target === t.search) change(t, { text: (t.search.value = "") });
    else if (event.key === "ArrowDown" && event.target === t.search) focusRow(t, t.at);
    else if (event.key === "Escape" && tr) open(t, tr.previousElementSibling.dataset.row);
    else return;
    event.preventDefault();
    return;
  }
  const cell = editable(event.target) ? event.target : null;
  if (!tr?.dataset.row || (event.target !== tr && !cell && event.key === "Enter")) return;
  if (t.head.edits && onCellKey(t, event, tr, cell, command)) event.preventDefault();
  else if (onRowKey(t, event, tr.dataset.row, command)) {
    event.preventDefault();
    if (cell && t.at !== tr.dataset.row && t.go === null) focusCell(t, t.at, cell.dataset.column); // in the same column
  }
}

function onCellKey(t, event, tr, cell, command) {
  if (command || event.shiftKey) return false;
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") sideways(t, tr, cell, event.key === "ArrowRight" ? 1 : -1);
  else if (event.key === "Escape" && cell) focusRow(t, tr.dataset.row);
  else if (event.key === "Enter" || event.key === "F2") {
    if (!event.repeat) edit(t, cell ?? tr.querySelector(".loom-table-editable"), event);
  } else if (event.key === t.head.open_key && !event.repeat) open(t, tr.dataset.row);
  else return false;
  return true;
}

function onRowKey(t, event, id, command) {
  const number = t.start + t.rows.findIndex((row) => row.id === id);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: LEAP, PageUp: -LEAP, Home: -Infinity, End: Infinity };
  if (command) {
    if (event.key === "z" && !event.repeat) undo(t, event);
    else if (event.key === "a") chooseAll(t);
    else return false;
    return true;
  }
  if (event.key in moves) {
    if (event.shiftKey && !t.chosen.size) toggle(t, id);
    go(t, number + moves[event.key]);
    if (event.shiftKey && t.go === null) chooseTo(t, t.at);
    return true;
  }
  if (event.key === " ") toggle(t, id);
  else if (event.repeat) return false;
  else if (event.key === "Enter") open(t, id);
  else if (event.key === "Escape") choose(t, []);
  else if (event.key === "/") t.search.focus();
  else if (event.key === "z") undo(t, event);
  else if (event.key === "?") t.keys.open = !t.keys.open;
  else return pressed(t, event, id);
  return true;
}

// the first action of this key that the row, or what is chosen, can take
function pressed(t, event, id) {
  t.at = id;
  const fitting = t.head.actions.filter((action) => action.key === event.key);
  if (!fitting.length) return false;
  const ids = target(t);
  begin(t, event, fitting.find((action) => takes(t, action, ids)) ?? fitting[0]);
  return true;
}

const CHOOSING = [
  ["Space", "choose"],
  ["Shift+\u2191\u2193", "choose several"],
  ["Ctrl+A", "choose all that are found"],
];

function drawKeys(t) {
  if (t.keys) return;
  t.keys = make("details", "keys");
  const list = make("span", "keylist");
  const own = new Map();
  for (const one of t.head.actions) if (one.key) own.set(one.key, [...(own.get(one.key) ?? []), one.label]);
  const pairs = [
    ["\u2191 \u2193", "from row to row"],
    ...(t.head.actions.length ? CHOOSING : []),
    ...(t.head.edits ? [["\u2190 \u2192", "from cell to cell"], ["Enter", "edit"], ["Esc", "leave it"]] : []),
    ...(t.head.opens ? [[t.head.open_key || "Enter", "open or close"]] : []),
    ...[...own].map(([key, labels]) => [key, labels.join(" / ")]),
    ...(t.head.actions.length ? [["z, Ctrl+Z", "undo"]] : []),
    ["/", t.head.paged ? "search" : "filter"],
    ...(t.head.actions.length ? [["Esc", "choose none"]] : []),
  ];
  for (const [key, word] of pairs) list.append(make("kbd", "key", key), ` ${word}  `);
  t.keys.append(make("summary", "", "Keys"), list);
  t.section.append(t.keys);
}

// --- the table on the page -----------------------------------------------------------------------

function tableOnPage(send) {
  const t = {
    send, head: null, rows: [], start: 0, count: 0, height: 26, at: null, from: null, go: null,
    chosen: new Set(), details: new Map(), numbers: 0, number: 0, again: false, renewed: false, isLate: false, acting: false, patience: 0,
    query: { text: "", chosen: {}, sort: "", down: false, start: 0 },
    section: make("section"), title: make("h4", "title"), facts: make("div", "facts"), bar: make("div", "bar"),
    find: make("div", "find"), scroll: make("div", "scroll"), table: make("table", "grid"), caption: make("caption"),
    body: make("tbody"), empty: make("p", "empty", "Nothing is found."), foot: make("div", "foot"),
    editor: null, wanted: null, reading: null, told: "", homeless: make("div", "homeless"), spoken: make("span", "spoken"),
    say: make("div", "say"), word: make("span", "word"), undo: button("button loom-table-undo", "Undo"),
  };
  t.section.className = "loom-widget loom-table";
  t.section.setAttribute("aria-labelledby", named(t.title));
  t.section.setAttribute("aria-busy", "true");
  t.find.setAttribute("role", "search");
  t.table.setAttribute("role", "grid");
  t.table.setAttribute("aria-multiselectable", "true");
  t.word.setAttribute("role", "status");
  t.word.setAttribute("aria-live", "polite");
  t.spoken.setAttribute("role", "status");
  t.undo.hidden = t.empty.hidden = t.homeless.hidden = true;
  t.undo.title = "takes back the last action of this table";
  t.table.append(t.caption);
  t.scroll.append(t.table, t.empty);
  t.say.append(t.undo, t.word, t.spoken);
  t.section.append(t.title, t.facts, t.bar, t.find, t.scroll, t.homeless, t.foot, t.say);
  listen(t);
  return t;
}

function listen(t) {
  t.section.addEventListener("keydown", (event) => onKey(t, event));
  let frame = 0;
  t.scroll.addEventListener("scroll", () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => scrolled(t));
  });
  t.undo.addEventListener("click", (event) => undo(t, event));
  t.body.addEventListener("focusin", (event) => {
    const id = event.target.closest("tr")?.dataset.row;
    if (!id || id === t.at) return;
    t.at = id;
    marks(t);
  });
  t.body.addEventListener("click", (event) => onClick(t, event));
  t.body.addEventListener("dblclick", (event) => {
    const cell = event.target.closest("td");
    if (editable(cell) && columnOf(t, cell.dataset.column).edits !== "flag") edit(t, cell, event);
  });
  // who comes back to it sees what has changed elsewhere
  t.section.addEventListener("focusin", (event) => {
    if (t.head?.paged && !t.section.contains(event.relatedTarget)) ask(t);
  });
}

function onClick(t, event) {
  if (event.target.closest("select, .loom-table-editor")) return;
  const tr = event.target.closest("tr");
  const id = tr?.dataset.row;
  if (!id) return;
  if (event.target.matches("input")) {
    if (event.shiftKey) chooseTo(t, id);
    else toggle(t, id);
  } else if (event.target.closest("button")) {
    open(t, id);
  } else if (event.shiftKey) {
    chooseTo(t, id);
  } else if (event.ctrlKey || event.metaKey) {
    toggle(t, id);
  }
  const cell = event.target.closest("td");
  if (editable(cell)) {
    focusCell(t, id, cell.dataset.column);
    if (columnOf(t, cell.dataset.column).edits === "flag" && event.detail === 1) edit(t, cell, event);
    return;
  }
  focusRow(t, id);
}

function show(t, head, note) {
  const isFirst = t.head === null;
  t.head = head;
  head.edits = head.columns.some((column) => column.edits);
  if (isFirst && head.query) Object.assign(t.query, head.query, { chosen: { ...head.query.chosen } });
  drawHead(t);
  drawFind(t);
  if (isFirst) {
    drawHeading(t);
    t.table.append(t.body);
    makeActions(t);
    drawKeys(t);
  }
  t.renewed = true;
  if (note) tell(t, note);
  t.number = 0;
  ask(t);
}

// --- the widget --------------------------------------------------------------------------------

export default () => {
  const tables = new Set();
  let last = null;
  let saved = null;
  let isGone = false;
  let leaving = 0;
  let talk = null;

  const HEARD = {
    show: (t, message) => show(t, message.head, message.note),
    page: taken,
    all: (t, message) => choose(t, message.ids),
    details: (t, message) => drawDetails(t, message.row, message.details),
    value: begun,
    set: keptEdit,
    refused,
    receipt: (t, message) => {
      choose(t, []);
      answered(t, message.text, { back: message.back }, message.undo);
    },
    problem: (t, message) => answered(t, message.text, { back: message.fixes, problem: true }),
  };

  const heard = (model, message) => {
    if (message.type === "show") {
      last = message;
      saved ??= savedIn(model);
      saved?.set(message.model, message.saved);
      putBack(model, message.model);
    } else if (message.type === "gone") {
      isGone = true;
      clearTimeout(leaving);
      if (last) becomeCard(model, last.model, last.saved);
    }
    for (const t of tables) {
      if (isGone) tell(t, "This table has been closed. %loom shows it again where its line is run again.");
      else HEARD[message.type]?.(t, message);
    }
  };

  const initialize = ({ model }) => {
    talk = talking(model, (message) => heard(model, message));
    talk.listens.then(() => talk.say({ type: "ready" }));
    return talk.end;
  };

  const render = ({ model, el }) => {
    clearTimeout(leaving);
    const t = tableOnPage(talk.say);
    tables.add(t);
    el.append(t.section);
    if (last) show(t, last.head, "");
    else waiting(t);
    return () => {
      clearTimeout(t.patience);
      tables.delete(t);
      // a cell that is moved is drawn anew at once; one that was run again or deleted is not
      if (!tables.size && !isGone) leaving = setTimeout(() => talk.say({ type: "left" }), LEFT_MS);
    };
  };

  return { initialize, render };
};
