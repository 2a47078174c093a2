// The card of one question. It says {type: "ready"} and {type: "answer", nonce, entries}, and hears
// {type: "show" | "note" | "refused" | "gone"}. Only text nodes are written, so no word of a model can
// become markup; only what a person does (event.isTrusted) counts, and not in the first moment.

const BURST_MS = 300;
const PATIENCE_MS = 5000;
const TYPED_IN = "textarea, select, input[type=text], input[type=password]";
const CALM = window.matchMedia?.("(prefers-reduced-motion: reduce)");

// --- small parts -------------------------------------------------------------------------------

// partsOf, write and VIEW stand in parts.js
const { make, named } = partsOf("loom-question");

// what is long scrolls, also by the keyboard
function block(className, label) {
  const node = make("pre", className);
  node.tabIndex = 0;
  node.setAttribute("role", "region");
  node.setAttribute("aria-label", label);
  return node;
}

// --- the notebook around it (JupyterLab, Notebook 7; elsewhere nothing of this is there) --------

const GOES_ON = Symbol.for("loom-nb.goes-on");

function notebookOf(model) {
  return model.widget_manager?.context?.model;
}

// A notebook that is saved now keeps the words of the card, not a widget that no kernel will know.
function wordsInTheFile(model) {
  const notebook = notebookOf(model);
  const whole = notebook?.toJSON;
  if (typeof whole !== "function") return () => {};
  const kept = function (...args) {
    const file = whole.apply(this, args);
    for (const cell of file.cells ?? []) {
      for (const output of cell.outputs ?? []) {
        if (output.metadata?.loom?.question && output.data) delete output.data[VIEW];
      }
    }
    return file;
  };
  notebook.toJSON = kept;
  return () => {
    if (notebook.toJSON === kept) notebook.toJSON = whole;
  };
}

function* codeCells(model) {
  const cells = notebookOf(model)?.cells;
  for (let at = 0; at < (cells?.length ?? 0); at++) {
    const cell = cells.get(at);
    if (cell.outputs) yield cell;
  }
}

function outputAt(cell, fits) {
  for (let at = 0; at < cell.outputs.length; at++) {
    if (fits(cell.outputs.get(at).toJSON())) return at;
  }
  return -1;
}

// After a page is loaded anew its cell has no view of this card: put one there.
function place(model, content, id) {
  for (const cell of codeCells(model)) {
    if (outputAt(cell, (output) => output.data?.[VIEW]?.model_id === id) >= 0) return;
  }
  const data = { [VIEW]: { version_major: 2, version_minor: 0, model_id: id }, ...content.bundle };
  putOutput(model, content, data);
}

// Our lab extension goes on with the whole cell: then nothing has to be told by the card.
function goesOn(model, content) {
  for (const cell of codeCells(model)) {
    if (cell.id === content.cell) return cell[GOES_ON] === true;
  }
  return false;
}

function putOutput(model, content, data) {
  for (const cell of codeCells(model)) {
    if (cell.id !== content.cell) continue;
    if (cell.trusted === false) {
      cell.outputs.clear(); // as for any cell that is executed: what was in the file goes, and is not trusted along
      cell.trusted = true;
    }
    const output = { output_type: "display_data", data, metadata: { loom: { question: content.id } } };
    const at = outputAt(cell, (one) => one.metadata?.loom?.question === content.id);
    if (at >= 0) cell.outputs.set(at, output);
    else cell.outputs.add(output);
  }
}

// --- what is shown -----------------------------------------------------------------------------

function drawHead(content, section) {
  const head = make("header", "head");
  const title = make("h4", "title", content.title);
  section.setAttribute("aria-labelledby", named(title));
  const about = make("p", "about");
  head.append(title, about);
  const began = performance.now();
  const tell = () => {
    const left = content.seconds === null ? "" : expiry(content.seconds - (performance.now() - began) / 1000);
    about.textContent = "";
    write(about, [content.place, left, content.unanswered].filter(Boolean).join(" · "));
  };
  tell();
  const timer = content.seconds === null ? 0 : setInterval(tell, CALM?.matches ? 15000 : 1000);
  return { head, stop: () => clearInterval(timer) };
}

function expiry(seconds) {
  if (seconds <= 0) return "time is up";
  if (seconds >= 90) return `expires in ${Math.round(seconds / 60)} min`;
  return CALM?.matches ? "expires in less than 2 min" : `expires in ${Math.ceil(seconds)} s`;
}

function drawWords(content) {
  const words = make("div", "words");
  if (content.heading) {
    const line = make("p", "heading");
    if (content.asker) line.append(make("span", "asker", `${content.asker} asks: `));
    write(line, content.heading);
    words.append(line);
  }
  if (content.foreign) words.append(make("p", "warning", `\u26A0 These words come ${content.foreign}.`));
  if (content.text) words.append(make("p", "text", content.text));
  return words;
}

function drawCall(call) {
  const box = make("div", "call");
  const name = make("code", "tool", call.tool);
  box.append(name, call.arguments.length ? "(" : "()");
  for (const [argument, value] of call.arguments) {
    const row = make("div", "argument");
    row.append(make("code", "name", argument));
    const shown = block("value", `value of ${argument}`);
    write(shown, value);
    row.append(" = ", shown);
    box.append(row);
  }
  if (call.arguments.length) box.append(")");
  return box;
}

function drawAspects(aspects) {
  const list = make("div", "aspects");
  for (const { name, lines, warning } of aspects) {
    const value = make("div", warning ? "warning" : "aspect");
    lines.forEach((line, at) => {
      const row = make("div");
      write(row, warning && at === 0 ? `\u26A0 ${line}` : line);
      value.append(row);
    });
    list.append(make("div", "term", name), value);
  }
  return list;
}

function drawPreview(preview) {
  const box = make("div", "preview");
  box.append(make("p", "caption", preview.title));
  const shown = block("lines", preview.title);
  for (const spans of preview.lines) {
    const row = make("div", spans.length === 1 && spans[0][0] ? `line loom-question-${spans[0][0]}` : "line");
    for (const [name, text] of spans) row.append(make("span", name, text));
    if (!row.textContent) row.append("\n");
    shown.append(row);
  }
  box.append(shown);
  return box;
}

// --- what is filled in -------------------------------------------------------------------------

function drawField(field, needed = "") {
  const box = make("div", "field");
  const label = make("label", "label", field.label);
  if (field.required && needed) label.append(make("span", "needed", ` (${needed})`));
  const several = field.type === "several";
  const control = several ? drawSeveral(field) : drawControl(field);
  if (several) control.setAttribute("aria-labelledby", named(label));
  else label.htmlFor = named(control);
  const help = make("p", "help", field.help);
  if (field.type === "lines") write(help, `${field.help ? " " : ""}One on each line.`);
  if (field.type === "json") write(help, `${field.help ? " " : ""}As JSON.`);
  if (field.hidden) write(help, " It holds characters that are not seen: look at it above.");
  const error = make("p", "error");
  error.setAttribute("aria-live", "polite");
  control.setAttribute("aria-describedby", `${named(help)} ${named(error)}`);
  box.append(label, control, help, error);
  return {
    box,
    control,
    name: field.name,
    read: () => readField(field, control),
    changed: () => JSON.stringify(readField(field, control)) !== JSON.stringify(initialOf(field)),
    complain: (words) => {
      error.textContent = "";
      if (words) write(error, `\u2717 ${words}`);
      control.setAttribute("aria-invalid", String(Boolean(words)));
    },
  };
}

function drawControl(field) {
  if (field.type === "option") return drawOption(field);
  const short = field.type === "line" || field.type === "number";
  const control = make(short ? "input" : "textarea", field.secret && !short ? "control loom-question-hidden" : "control");
  if (field.secret) keepHidden(control);
  if (short) control.type = field.secret ? "password" : "text";
  else if (field.secret) control.rows = 4;
  else control.rows = Math.min(12, Math.max(field.type === "text" ? 1 : 2, field.initial.split("\n").length));
  if (field.type === "number") control.inputMode = "decimal";
  control.value = field.initial;
  control.spellcheck = false;
  control.autocomplete = "off";
  if (field.required) control.setAttribute("aria-required", "true");
  return control;
}

// what is typed here is for nobody's memory: not the browser's, not that of a manager of passwords
function keepHidden(control) {
  control.setAttribute("data-1p-ignore", "");
  control.setAttribute("data-lpignore", "true");
  control.setAttribute("autocapitalize", "off");
}

function drawOption(field) {
  const control = make("select", "control");
  control.append(new Option("\u2014", ""));
  field.options.forEach((label, at) => control.append(new Option(label, String(at))));
  control.value = field.chosen.length ? String(field.chosen[0]) : "";
  return control;
}

function drawSeveral(field) {
  const group = make("div", "several");
  group.setAttribute("role", "group");
  field.options.forEach((label, at) => {
    const row = make("label", "tick");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.value = String(at);
    box.checked = field.chosen.includes(at);
    row.append(box, " ");
    write(row, label);
    group.append(row);
  });
  return group;
}

function readField(field, control) {
  if (field.type === "option") return control.value === "" ? [] : [Number(control.value)];
  if (field.type === "several") {
    return [...control.querySelectorAll("input:checked")].map((box) => Number(box.value));
  }
  return control.value;
}

function initialOf(field) {
  return field.type === "option" || field.type === "several" ? field.chosen : field.initial;
}

// --- the kinds: each gives {body, entries(), keys(key), first, fields, button, isReady()} --------

function radios(parts, onChoice) {
  const group = make("div", "ways");
  group.setAttribute("role", "radiogroup");
  group.setAttribute("aria-label", "Your answer");
  const name = named(group);
  for (const part of parts) {
    const row = make("label", "way");
    part.radio = document.createElement("input");
    part.radio.type = part.multiple ? "checkbox" : "radio";
    part.radio.name = name;
    const words = make("span", "waywords");
    write(words, part.label);
    if (part.description) words.append(make("span", "help", ` ${part.description}`));
    row.append(part.radio, words);
    if (part.key) {
      const key = make("kbd", "key", part.key);
      key.setAttribute("aria-hidden", "true");
      row.append(key);
      part.radio.setAttribute("aria-keyshortcuts", part.key);
    }
    group.append(row);
    if (part.below) group.append(part.below);
    part.radio.addEventListener("change", () => onChoice(part));
  }
  return group;
}

function approval(content, changed) {
  const body = [drawCall(content.call), drawAspects(content.aspects)];
  if (content.preview) body.push(drawPreview(content.preview));
  const reason = make("input", "control");
  reason.type = "text";
  reason.placeholder = "why, in your words (the agent reads it)";
  reason.setAttribute("aria-label", "What the agent is told");
  reason.autocomplete = "off";
  const told = make("div", "below");
  told.append(reason);
  const editor = make("div", "below");
  const fields = content.fields.map((field) => drawField(field));
  editor.append(...fields.map((field) => field.box));
  let chosen = null;
  const parts = content.ways.map((way) => ({ ...way, below: { edit: editor, deny: told }[way.value] }));
  const choose = (part) => {
    chosen = part;
    for (const one of parts) one.chosen = one.radio.checked = one === part;
    told.hidden = part?.value !== "deny";
    editor.hidden = part?.value !== "edit";
    changed();
  };
  const group = radios(parts, choose);
  told.hidden = editor.hidden = true;
  return {
    body: [...body, group],
    fields,
    button: () => (chosen ? { deny: "Deny", edit: "Allow as edited" }[chosen.value] ?? "Allow" : "Choose an answer"),
    danger: () => chosen !== null && chosen.value !== "deny",
    isReady: () => chosen !== null,
    entries: () => ({
      choice: chosen.value,
      text: chosen.value === "deny" ? reason.value : "",
      fields:
        chosen.value === "edit"
          ? Object.fromEntries(fields.filter((one) => one.changed()).map((one) => [one.name, one.read()]))
          : {},
    }),
    onKey: (key) => {
      const part = parts.find((one) => one.key === key);
      if (!part) return false;
      choose(part);
      if (part.value === "deny") reason.focus();
      else if (part.value === "edit") fields[0]?.control.focus();
      else part.radio.focus();
      return true;
    },
    help: [...parts.map((part) => [part.key, part.word]), ["Enter", "confirm"], ["Esc", "back to the card"]],
  };
}

function confirmation(content, changed, answer) {
  const bar = make("div", "actions");
  const buttons = { y: ["yes", "Yes"], n: ["no", "No"] };
  for (const [key, [choice, label]] of Object.entries(buttons)) {
    const button = make("button", "button", label);
    button.type = "button";
    button.setAttribute("aria-keyshortcuts", key);
    button.addEventListener("click", (event) => answer(event, { choice }));
    const shown = make("kbd", "key", key);
    shown.setAttribute("aria-hidden", "true");
    button.append(" ", shown);
    buttons[key].push(button);
    bar.append(button);
  }
  return {
    body: [drawWords(content), bar],
    fields: [],
    onKey: (key) => {
      buttons[key]?.[2].focus(); // Enter or the space bar presses it
      return key in buttons;
    },
    help: [["y", "go to yes"], ["n", "go to no"], ["Enter", "press it"]],
  };
}

function choice(content, changed) {
  const parts = content.options.map((option, at) => ({
    ...option,
    multiple: content.multiple,
    key: at < 9 ? String(at + 1) : "",
    chosen: false,
  }));
  const choose = (part) => {
    for (const one of parts) {
      if (one === part) one.chosen = !content.multiple || !one.chosen;
      else if (!content.multiple) one.chosen = false;
      one.radio.checked = one.chosen;
    }
    changed();
  };
  const group = radios(parts, choose);
  if (content.multiple) group.setAttribute("role", "group");
  return {
    body: [drawWords(content), group],
    fields: [],
    button: () => "Answer",
    isReady: () => content.multiple || parts.some((part) => part.chosen),
    entries: () => ({ chosen: parts.flatMap((part, at) => (part.chosen ? [at] : [])) }),
    onKey: (key) => {
      const part = parts.find((one) => one.key === key);
      if (!part) return false;
      choose(part);
      part.radio.focus();
      return true;
    },
    help: [["1\u20139", "choose"], ["Enter", "answer"]],
  };
}

function textual(content) {
  const secret = content.kind === "secret";
  const control = make(secret ? "input" : "textarea", "control");
  if (secret) control.type = "password";
  else control.rows = 3;
  control.autocomplete = "off";
  if (secret) keepHidden(control);
  control.spellcheck = !secret;
  control.setAttribute("aria-label", content.heading || content.title);
  const note = make("p", "help", content.note);
  return {
    body: [drawWords(content), control, ...(secret ? [note] : [])],
    fields: [],
    first: control,
    button: () => "Answer",
    isReady: () => true,
    entries: () => {
      const text = control.value;
      if (secret) control.value = "";
      return { text };
    },
    onKey: () => false,
    help: [[secret ? "Enter" : "Ctrl+Enter", "answer"], ["Esc", "back to the card"]],
  };
}

function form(content) {
  const fields = content.fields.map((field) => drawField(field, "needed"));
  const box = make("div", "fields");
  box.append(...fields.map((field) => field.box));
  return {
    body: [drawWords(content), box, ...(content.note ? [make("p", "help", content.note)] : [])],
    fields,
    first: fields[0]?.control,
    button: () => "Answer",
    isReady: () => true,
    entries: () => ({ fields: Object.fromEntries(fields.map((field) => [field.name, field.read()])) }),
    onKey: () => false,
    help: [["Ctrl+Enter", "answer"], ["Esc", "back to the card"]],
  };
}

const KINDS = { approval, confirm: confirmation, choice, text: textual, secret: textual, form };

// --- the card ----------------------------------------------------------------------------------

function drawCard(content, send) {
  const section = make("section");
  section.className = `loom-widget loom-question loom-question-of-${content.kind}`;
  section.setAttribute("role", "alertdialog");
  section.setAttribute("aria-modal", "false");
  section.tabIndex = -1;
  const { head, stop } = drawHead(content, section);
  const note = make("p", "note");
  note.setAttribute("role", "status");
  const shownAt = performance.now();
  let waiting = 0;

  const answer = (event, entries) => {
    if (!event.isTrusted || waiting || performance.now() - shownAt < BURST_MS) return;
    note.textContent = "";
    for (const field of kind.fields) field.complain("");
    send(entries ?? kind.entries());
    waiting = setTimeout(() => heard("The kernel has not taken the answer yet; it may be busy."), PATIENCE_MS);
    changed();
  };
  const confirmed = (event) => {
    if (kind.isReady?.()) answer(event);
  };
  const changed = () => {
    if (!button) return;
    button.textContent = waiting ? "Sending\u2026" : kind.button();
    button.setAttribute("aria-disabled", String(Boolean(waiting) || !kind.isReady()));
    button.classList.toggle("loom-question-go", kind.isReady() && !waiting);
  };
  const heard = (text) => {
    clearTimeout(waiting);
    waiting = 0;
    note.textContent = "";
    write(note, text);
    changed();
  };

  let button = null;
  const kind = KINDS[content.kind](content, () => changed(), answer);
  const foot = make("div", "foot");
  if (kind.button) {
    button = make("button", "button");
    button.type = "button";
    button.addEventListener("click", confirmed);
    foot.append(button);
  }
  foot.append(drawHelp(kind.help));
  section.append(head, ...kind.body, foot, note);
  const summary = section.querySelector(".loom-question-aspects, .loom-question-words");
  if (summary) section.setAttribute("aria-describedby", named(summary));
  changed();

  // before anything else hears of it: the click of a script, and one that was meant for something else
  const early = (event) => {
    if (event.isTrusted && performance.now() - shownAt >= BURST_MS) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  section.addEventListener("click", early, true);
  section.addEventListener("keydown", (event) => onKey(event, { section, kind, confirmed, foot, shownAt }));
  return {
    section,
    heard,
    refused: (text, problems) => {
      heard(`\u2717 ${text}`);
      for (const field of kind.fields) field.complain(problems[field.name] ?? "");
      kind.fields.find((field) => problems[field.name])?.control.focus();
    },
    focus: () => (kind.first ?? section).focus({ preventScroll: true }),
    stop: () => {
      clearTimeout(waiting);
      stop();
    },
  };
}

function drawHelp(pairs) {
  const help = make("details", "keys");
  const summary = make("summary", "", "Keys");
  const list = make("span", "keylist");
  for (const [key, word] of pairs) list.append(make("kbd", "key", key), ` ${word}  `);
  help.append(summary, list);
  return help;
}

// The notebook's own shortcuts ("dd" deletes a cell) must not see keys meant for the card.
function onKey(event, { section, kind, confirmed, foot, shownAt }) {
  const command = event.ctrlKey || event.metaKey;
  if (event.key !== "Tab" && (!command || event.key === "Enter")) event.stopPropagation();
  if (!event.isTrusted || event.isComposing || event.repeat || event.altKey) return;
  if (performance.now() - shownAt < BURST_MS) {
    if (!event.target.matches(TYPED_IN)) event.preventDefault();
    return;
  }
  if (event.key === "Escape") return section.focus();
  if (event.key === "Enter") {
    const long = event.target.matches("textarea");
    if (event.shiftKey || event.target.matches("button, summary") || (long && !command)) return;
    event.preventDefault();
    return confirmed(event);
  }
  if (command || event.target.matches(TYPED_IN)) return;
  if (event.key === "?") {
    const keys = foot.querySelector("details");
    keys.open = !keys.open;
    event.preventDefault();
  } else if (kind.onKey(event.key)) {
    event.preventDefault();
  }
}

// --- where the focus goes ----------------------------------------------------------------------

// Never out of a text that is being written, another card, or another notebook.
function mayTakeFocus(section) {
  const at = document.activeElement;
  if (!at || at === document.body) return true;
  if (at.closest(".loom-question, .cm-editor, .jp-Dialog, input, textarea, select, [contenteditable=true]")) {
    return false;
  }
  return at.contains(section) || at.closest(".jp-Notebook") === section.closest(".jp-Notebook");
}

function isWatched(section) {
  const cell = (section.closest(".jp-Cell") ?? section).getBoundingClientRect();
  return cell.bottom > 0 && cell.top < window.innerHeight;
}

function arrive(card, tries = 20) {
  if (!card.section.isConnected) {
    if (tries) setTimeout(() => arrive(card, tries - 1), 25);
    return null;
  }
  const before = document.activeElement;
  if (!mayTakeFocus(card.section) || !isWatched(card.section)) return null;
  card.focus();
  card.section.scrollIntoView?.({ block: "nearest" });
  return before;
}

// --- the widget --------------------------------------------------------------------------------

export default () => {
  const views = new Set();
  let content = null;
  let nonce = "";
  let talk = null;

  const draw = (model, view) => {
    view.card?.stop();
    view.card = drawCard(content, (entries) => talk.say({ type: "answer", nonce, entries }));
    view.el.replaceChildren(view.card.section);
    view.before = document.activeElement;
    setTimeout(() => arrive(view.card), 0);
  };

  const gone = (model, text) => {
    for (const view of views) {
      const focused = view.el.contains(document.activeElement);
      view.card?.stop();
      view.el.replaceChildren();
      if (focused && view.before?.isConnected) view.before.focus({ preventScroll: true });
    }
    if (content?.again && text && !goesOn(model, content)) putOutput(model, content, { "text/plain": text });
    content = null;
  };

  const initialize = ({ model }) => {
    const saveAsBefore = wordsInTheFile(model);
    const heard = (message) => {
      if (typeof message.nonce === "string") nonce = message.nonce;
      if (message.type === "show") {
        content = message.content;
        for (const view of views) draw(model, view);
        place(model, content, message.model);
      } else if (message.type === "note") {
        for (const view of views) view.card?.heard(message.text);
      } else if (message.type === "refused") {
        for (const view of views) view.card?.refused(message.text, message.fields);
      } else if (message.type === "gone") {
        gone(model, message.text);
      }
    };
    talk = talking(model, heard);
    talk.listens.then(() => talk.say({ type: "ready" }));
    return () => {
      saveAsBefore();
      talk.end();
    };
  };

  const render = ({ model, el }) => {
    const view = { el, card: null, before: null };
    views.add(view);
    if (content) draw(model, view);
    return () => {
      view.card?.stop();
      views.delete(view);
    };
  };

  return { initialize, render };
};
