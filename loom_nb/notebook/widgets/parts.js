// What cards and tables are made of. It is joined in front of each of them as one module, so that nothing
// is built. Only text nodes are written, so no word of a model can become markup.

// anywidget (0.11) gives a page two seconds to load a widget; where it took longer, what the kernel says is
// dropped from then on. So it is taken from the comm itself, wherever the page lets us find it.
async function hearing(model) {
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

