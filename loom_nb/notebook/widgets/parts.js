// What widgets talk by, and what cards and tables are made of. It is joined in front of each of them as one
// module, so that nothing is built. Only text nodes are written, so no word of a model can become markup.

const AGAIN_MS = 2000;
const MOST_TIMES = 5;

// What the kernel says comes to `listener`, and `say` tells it something. anywidget (0.11) gives a page two
// seconds to load a widget, and drops what the kernel says where it took longer; and a kernel that has just
// made a thread for comms (ipykernel 7) may sleep over a message until the next one. So what is said is taken
// from the comm itself, where the page lets us find it, and what was not confirmed is said again.
function talking(model, listener) {
  const page = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  const open = new Map();
  let count = 0;
  let timer = 0;
  let times = 0;

  const later = () => {
    clearTimeout(timer);
    if (open.size) timer = setTimeout(again, AGAIN_MS * 2 ** times);
  };
  const again = () => {
    if (times === MOST_TIMES) return open.clear(); // what was meant a minute ago is not done later
    times += 1;
    for (const message of open.values()) model.send(message);
    later();
  };
  const heard = (message) => {
    if (message.type !== "heard") return listener(message);
    open.delete(message.said);
    if (!open.size) clearTimeout(timer);
  };
  model.on("msg:custom", heard);
  return {
    listens: listening(model),
    say(message) {
      count += 1;
      const said = `${page}-${count}`;
      for (const [id, one] of open) {
        if (message.nonce && one.nonce === message.nonce) open.delete(id); // another answer in its place
      }
      open.set(said, { ...message, said });
      model.send(open.get(said));
      if (open.size > 1) return; // its time comes with that of the one before
      times = 0;
      later();
    },
    end() {
      clearTimeout(timer);
      model.off("msg:custom", heard);
    },
  };
}

async function listening(model) {
  const soon = new Promise((resolve) => setTimeout(resolve, 500));
  try {
    const whole = await Promise.race([model.widget_manager.get_model(model.get("_loom_id")), soon]);
    const further = whole._handle_comm_msg.bind(whole);
    whole.comm.on_msg((message) => {
      const { method, content } = message.content.data;
      if (method !== "custom") return further(message);
      whole.trigger("msg:custom", content, message.buffers);
    });
  } catch {
    // a page that is made in another way hears as it does
  }
}

const HIDDEN = /(⟨U\+[0-9A-F]{4,6}⟩)/;
const VIEW = "application/vnd.jupyter.widget-view+json";

// hidden characters come as ⟨U+202E⟩ and stand out
function write(node, text) {
  for (const piece of String(text).split(HIDDEN)) {
    if (HIDDEN.test(piece)) {
      const mark = document.createElement("mark");
      mark.className = "loom-widget-hidden";
      mark.title = "a character that is not seen, or that reorders the text";
      mark.textContent = piece;
      node.append(mark);
    } else if (piece) {
      node.append(piece);
    }
  }
}

// the ways to make a node and to give it an id, for a widget whose classes begin with `prefix`
function partsOf(prefix) {
  let count = 0;
  return {
    make(tag, className = "", text = "") {
      const node = document.createElement(tag);
      if (className) node.className = `${prefix}-${className}`;
      if (text !== "" && text !== null) write(node, text);
      return node;
    },
    named(node) {
      count += 1;
      node.id = `${prefix}-${Date.now().toString(36)}-${count}`;
      return node.id;
    },
  };
}

