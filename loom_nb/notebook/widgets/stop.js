// The Stop button: it sends {type: "stop"} and hears {type: "say" | "stopping" | "gone"}.
// Only text nodes are written, so no word of a model can become markup.

// A notebook saved in the middle of a run would hold a widget that no kernel knows: where the page
// lets us (JupyterLab, Notebook 7), the file is written without the outputs that are marked so.
function leftOutOfTheFile(model) {
  const notebook = model.widget_manager?.context?.model;
  const whole = notebook?.toJSON;
  if (typeof whole !== "function") return () => {};
  const isKept = (output) => output.metadata?.loom?.live_only !== true;
  const kept = function (...args) {
    const file = whole.apply(this, args);
    for (const cell of file.cells ?? []) {
      if (Array.isArray(cell.outputs)) cell.outputs = cell.outputs.filter(isKept);
    }
    return file;
  };
  notebook.toJSON = kept;
  return () => {
    if (notebook.toJSON === kept) notebook.toJSON = whole;
  };
}

function render({ model, el }) {
  const bar = document.createElement("div");
  bar.className = "loom-stop";

  const button = document.createElement("button");
  button.type = "button";
  button.className = "loom-stop-button";
  button.title = "Stop this run; what it has done so far is kept";
  const square = document.createElement("span");
  square.setAttribute("aria-hidden", "true");
  square.textContent = "\u25A0 ";
  const word = document.createElement("span");
  word.textContent = "Stop";
  button.append(square, word);

  const voice = document.createElement("span");
  voice.className = "loom-stop-voice";
  voice.setAttribute("role", "status");
  voice.setAttribute("aria-live", "polite");

  bar.append(button, voice);
  el.append(bar);

  const stopping = () => {
    button.setAttribute("aria-disabled", "true"); // stays focusable, so the focus is not lost
    word.textContent = "Stopping\u2026";
  };
  const onClick = () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    stopping();
    talk.say({ type: "stop" });
  };
  // the notebook's own shortcuts ("x" cuts a cell) must not see keys meant for the button
  const onKey = (event) => {
    if (event.key !== "Tab") event.stopPropagation();
  };
  const onMessage = (message) => {
    if (message.type === "say") voice.textContent = String(message.text);
    else if (message.type === "stopping") stopping();
    else if (message.type === "gone") bar.remove();
  };

  const saveAsBefore = leftOutOfTheFile(model);
  button.addEventListener("click", onClick);
  button.addEventListener("keydown", onKey);
  const talk = talking(model, onMessage);
  return () => {
    saveAsBefore();
    button.removeEventListener("click", onClick);
    button.removeEventListener("keydown", onKey);
    talk.end();
  };
}

export default { render };
