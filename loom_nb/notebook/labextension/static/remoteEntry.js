// Shows `%%loom` cells in JupyterLab 4 and Notebook 7 as what they are: a prompt in Markdown. And
// carries out changes of cells that a person has allowed.
//
// A hand-written federated extension, no build step: JupyterLab loads this file as a plain script,
// calls init() with the modules it shares, and asks get() for the modules named in package.json.
// A prompt stays a code cell: only how its text is coloured and wrapped is changed.

(() => {
  'use strict';

  const NAME = 'loom-nb';
  const MIME = 'text/x-ipythongfm';
  const CLASS = 'loom-Prompt';
  const CHANGED = 'loom-Changed';
  const MARK_MS = 6000;
  const TARGET = 'loom-nb.cells';
  const GOES_ON = Symbol.for('loom-nb.goes-on'); // on the model of such a cell; the cards look for it
  const NOT_SEEN = '(the page was loaded anew: what was said before stands here again at the end)';
  const PROMPT = /^[ \t]*%{1,2}loom(?=\s|$)/m;
  const INFO_MS = 1000; // a kernel that is free has answered by then
  const PAGES_MS = 250; // another page of this browser has answered by then
  const PAINTING_MS = 1500; // and the kernel, unless it cannot hear us
  const ELSEWHERE_MS = 3000; // so long we believe another page, which may be closed meanwhile
  // comments and empty lines may stand above it, as the kernel has it
  const MAGIC = /^(?:[ \t]*(?:#.*)?\r?\n)*[ \t]*%%loom(?=\s|$)/;
  // JupyterLab sets the language of every code cell once the kernel has said which it is, and
  // loads editor languages lazily: the last to speak wins, so we wait a moment before we do.
  const SETTLE_MS = 60;

  const here = document.currentScript ? document.currentScript.src : '';
  let shared = null;

  function load(name) {
    const versions = shared[name];
    if (!versions) {
      throw new Error(`${NAME}: this page does not share ${name}`);
    }
    const newest = Object.keys(versions).sort(compareVersions).pop();
    return Promise.resolve(versions[newest].get()).then(factory => factory());
  }

  function compareVersions(a, b) {
    return a.localeCompare(b, undefined, { numeric: true });
  }

  // One watch for each notebook panel; it forgets a cell when its model goes.
  function watchPanel(panel) {
    const notebook = panel.content;
    const watched = new WeakSet();
    const timers = new Map();

    const settle = cell => {
      const model = cell.model;
      if (cell.isDisposed || !model || model.isDisposed || model.type !== 'code') {
        return;
      }
      const isPrompt = MAGIC.test(model.sharedModel.getSource());
      const wasPrompt = cell.node.classList.contains(CLASS);
      cell.node.classList.toggle(CLASS, isPrompt);
      if (isPrompt && model.mimeType !== MIME) {
        model.mimeType = MIME;
      } else if (!isPrompt && wasPrompt && model.mimeType === MIME) {
        model.mimeType = notebook.codeMimetype;
      }
    };

    const soon = cell => {
      clearTimeout(timers.get(cell));
      timers.set(
        cell,
        setTimeout(() => {
          timers.delete(cell);
          settle(cell);
        }, SETTLE_MS)
      );
    };

    const watchCell = cell => {
      if (watched.has(cell) || !cell.model || cell.model.type !== 'code') {
        return;
      }
      watched.add(cell);
      cell.model.sharedModel.changed.connect((_, change) => {
        if (change.sourceChange) {
          soon(cell);
        }
      });
      cell.model.mimeTypeChanged.connect(() => soon(cell));
      cell.disposed.connect(() => {
        clearTimeout(timers.get(cell));
        timers.delete(cell);
      });
      soon(cell);
    };

    const watchAll = () => notebook.widgets.forEach(watchCell);
    const watchModel = () => {
      if (notebook.model) {
        // cells come and go, and a cell that changes its type is a new cell
        notebook.model.cells.changed.connect(watchAll);
        watchAll();
      }
    };
    notebook.modelChanged.connect(watchModel);
    watchModel();
  }

  // The kernel's way to the cells of one panel. It invites us by the metadata of its card; a page that
  // is loaded later asks whether it has invited another one before.
  function serveCells(panel, tracker) {
    let comm = null;
    let served = null; // the kernel of the comm
    const ask = () => {
      if (!attach()) {
        comm?.send({ method: 'custom', content: { paint: true } });
      }
    };
    const painted = goOn(panel, tracker, ask);

    const attach = () => {
      const kernel = panel.sessionContext.session?.kernel;
      if (!kernel || (comm && !comm.isDisposed && served === kernel)) {
        return false;
      }
      const fresh = kernel.createComm(TARGET);
      comm = fresh;
      served = kernel;
      fresh.onMsg = message => {
        const { id, changes, below, paintings } = message.content.data;
        if (paintings) {
          painted(paintings);
          return;
        }
        const refused = carryOut(panel, changes, below);
        const done = refused.every(why => !why);
        fresh.send({ method: 'custom', content: { id, done, refused } });
      };
      fresh.onClose = () => {
        comm = comm === fresh ? null : comm;
      };
      fresh.open({});
      return true;
    };

    // a kernel that runs a cell answers nothing, and yet newer ones take a comm: one that runs a prompt knows ours
    const look = async () => {
      const kernel = panel.sessionContext.session?.kernel;
      if (kernel) {
        const late = new Promise(resolve => setTimeout(resolve, INFO_MS, null));
        const reply = await Promise.race([kernel.requestCommInfo({ target_name: TARGET }), late]);
        if (reply ? Object.keys(reply.content?.comms ?? {}).length : mayRunPrompt(panel)) {
          attach();
        }
      }
    };

    panel.sessionContext.iopubMessage.connect((_, message) => {
      if (message.content?.metadata?.loom?.cells === TARGET) {
        attach();
      }
    });
    panel.sessionContext.ready.then(look).catch(() => undefined); // without a kernel there is nothing to do
  }

  // Which of the pages of this browser shows a run, where a notebook is open in several.
  const pages = typeof BroadcastChannel === 'function' ? new BroadcastChannel(TARGET) : null;
  const showsIt = new Set(); // for each panel: does it show what this request sends?
  const elsewhere = new Map(); // request -> when another page said that it does
  if (pages) {
    pages.onmessage = ({ data }) => {
      if (data.says) {
        elsewhere.set(data.says, Date.now());
      } else if ([...showsIt].some(shows => shows(data.asks))) {
        pages.postMessage({ says: data.asks });
      }
    };
  }

  const mayRunPrompt = panel =>
    panel.content.widgets.some(cell => cell.model?.type === 'code' && PROMPT.test(cell.model.sharedModel.getSource()));

  // Cells that run on while their page is loaded anew. The new page has no future for their request,
  // so that no output reaches them: here they get one that is fed with what the kernel sends. What was
  // shown before is asked of the kernel. A cell that was run on this page is never touched.
  function goOn(panel, tracker, ask) {
    const goingOn = new Map(); // request -> what is known of it

    const cellOf = id => panel.content.widgets.find(cell => cell.model?.type === 'code' && cell.model.id === id);
    const views = () => tracker.filter(other => other.context === panel.context);
    const futureOf = cell => {
      const future = cell.outputArea?.future;
      return future && !future.isDisposed ? future : null;
    };
    const isServed = id =>
      views().some(view => view.content.widgets.some(cell => cell.model?.id === id && futureOf(cell)));
    const isOurs = id =>
      // where people edit together, the page of another may show it: then the outputs are there anyway
      !panel.isDisposed && !panel.content.model?.collaborative && views()[0] === panel && cellOf(id) && !isServed(id);

    const shows = request =>
      !panel.isDisposed &&
      panel.content.widgets.some(cell => cell.outputArea && futureOf(cell)?.msg?.header.msg_id === request);
    showsIt.add(shows);

    // First other pages are asked, then the kernel.
    const begin = (request, place) => {
      const run = { request, place, waiting: [], painting: null, known: new Set(), future: null, state: 'asking' };
      goingOn.set(request, run);
      elsewhere.delete(request);
      pages?.postMessage({ asks: request });
      setTimeout(() => {
        if (elsewhere.has(request) || !isOurs(place.cell)) {
          goingOn.delete(request); // what comes later asks again
          return;
        }
        run.state = 'waiting';
        if (run.painting || place.last) {
          adopt(run);
        } else {
          ask();
          setTimeout(() => run.state === 'waiting' && adopt(run), PAINTING_MS);
        }
      }, PAGES_MS);
    };

    const adopt = run => {
      const cell = isOurs(run.place.cell) && cellOf(run.place.cell);
      if (!cell) {
        goingOn.delete(run.request);
        return;
      }
      const { model } = cell;
      const number = model.executionCount;
      const future = standIn(run.request, () => {
        run.state = 'left';
        run.waiting = [];
        delete model[GOES_ON];
      });
      run.state = 'adopted';
      run.future = future;
      model.clearExecution(); // also: what comes from now on comes from the kernel, and is trusted
      model[GOES_ON] = true;
      cell.outputArea.future = future;
      if (run.place.busy) {
        model.executionState = 'running';
      } else {
        model.executionCount = run.place.count ?? number;
      }
      future.done.then(() => finished(run), () => undefined);
      paint(run);
    };

    const paint = run => {
      if (!run.painting && !run.place.last) {
        feed(run, shown({ data: { 'text/plain': NOT_SEEN }, metadata: {} }));
      }
      for (const output of run.painting ?? []) {
        feed(run, { header: { msg_type: output.msg_type }, content: output.content });
      }
      run.waiting.splice(0).forEach(message => feed(run, message));
    };

    const shown = content => ({ header: { msg_type: 'display_data' }, content });

    const feed = (run, message) => {
      const { content } = message;
      const kind = message.header.msg_type;
      const slot = content.transient?.display_id;
      if (kind === 'update_display_data' && content.transient?.loom && !run.known.has(slot)) {
        message = shown(content); // the page has not seen its beginning
      }
      if (slot) {
        run.known.add(slot);
      }
      run.future.onIOPub(message);
      if (kind === 'status' && content.execution_state === 'idle') {
        run.future.settle();
      }
    };

    const finished = run => {
      const model = cellOf(run.place.cell)?.model;
      if (model && run.state === 'adopted' && model.executionState === 'running') {
        model.executionCount = run.place.count;
        model.executionState = 'idle';
      }
    };

    // What the kernel says of all cells: they are put up where nothing else shows them.
    const painted = paintings => {
      for (const { outputs, request, ...place } of paintings) {
        if (!goingOn.has(request) && isOurs(place.cell) && !(place.ended && isThere(place.cell, outputs))) {
          begin(request, place);
        }
        const run = goingOn.get(request);
        if (!run || run.painting || run.state === 'left') {
          continue;
        }
        run.painting = outputs;
        run.place = place;
        run.waiting = []; // it holds all that was said before
        if (run.state === 'waiting') {
          adopt(run);
        } else if (run.state === 'adopted') {
          cellOf(place.cell)?.outputArea.model.clear();
          run.known.clear();
          paint(run);
        }
        if (place.ended) {
          run.future?.settle();
        }
      }
    };

    // A run that ended while the page was loaded may have been saved before.
    const isThere = (id, outputs) => {
      const html = outputs.map(output => output.content.data?.['text/html']).find(Boolean);
      return cellOf(id).model.outputs.toJSON().some(output => html && output.data?.['text/html'] === html);
    };

    const letGo = () => {
      for (const run of goingOn.values()) {
        const model = run.state === 'adopted' && cellOf(run.place.cell)?.model;
        run.future?.dispose();
        if (model && model.executionState === 'running') {
          model.executionState = 'idle';
        }
      }
      goingOn.clear();
    };

    const heard = (_, message) => {
      const request = message.parent_header?.msg_id;
      const run = goingOn.get(request);
      const place = message.content?.transient?.loom;
      if (run?.state === 'adopted') {
        feed(run, message);
      } else if (run && run.state !== 'left') {
        run.waiting.push(message);
      } else if (!run && place?.cell && isOurs(place.cell) && !isElsewhere(request)) {
        begin(request, place);
        goingOn.get(request).waiting.push(message);
      }
    };
    const isElsewhere = request => Date.now() - (elsewhere.get(request) ?? -Infinity) < ELSEWHERE_MS;

    const { sessionContext } = panel;
    sessionContext.iopubMessage.connect(heard);
    sessionContext.kernelChanged.connect(letGo);
    sessionContext.statusChanged.connect((_, status) => {
      if (['restarting', 'autorestarting', 'dead'].includes(status)) {
        letGo();
      }
    });
    panel.disposed.connect(() => showsIt.delete(shows));
    return painted;
  }

  // Stands where JupyterLab keeps the future of a request; it is not the page that has made the request.
  function standIn(request, left) {
    let settle;
    let drop;
    const done = new Promise((resolve, reject) => {
      settle = resolve;
      drop = reject;
    });
    done.catch(() => undefined);
    const nothing = () => undefined;
    return {
      msg: { header: { msg_id: request } },
      done,
      isDisposed: false,
      onIOPub: nothing,
      onReply: nothing,
      onStdin: nothing,
      registerMessageHook: nothing,
      removeMessageHook: nothing,
      sendInputReply: nothing,
      settle() {
        settle({ content: { status: 'ok', execution_count: null } });
      },
      dispose() {
        if (!this.isDisposed) {
          this.isDisposed = true;
          drop(new Error('another one took its place'));
          left();
        }
      }
    };
  }

  // Does all changes in one step that one undo takes back, or none; says for each why it cannot be done.
  function carryOut(panel, changes, below) {
    const notebook = panel.content;
    const shared = notebook.model?.sharedModel;
    const place = id => (shared ? shared.cells.findIndex(cell => cell.getId() === id) : -1);
    const wrong = change => {
      if (!shared || notebook.model.readOnly) {
        return 'the notebook cannot be changed here';
      }
      if (!['insert', 'edit', 'delete'].includes(change.action)) {
        return 'this front end does not know such a change';
      }
      const at = place(change.cell);
      if (change.cell && at < 0) {
        return 'the cell is not in the notebook any more';
      }
      if (change.action === 'insert') {
        return '';
      }
      const cell = shared.cells[at];
      if (change.before !== undefined && change.before !== null && cell.getSource().trim() !== change.before.trim()) {
        return 'the cell was edited since it ran';
      }
      return cell.getMetadata('editable') === false ? 'the cell is locked' : '';
    };
    const refused = changes.map(wrong);
    if (refused.some(Boolean)) {
      return refused;
    }
    // within the step the notebook's own list of cells is that of before: we keep count ourselves
    const order = shared.cells.map(cell => cell.getId());
    const cells = new Map(shared.cells.map(cell => [cell.getId(), cell]));
    const last = new Map(); // where several are put below the same cell, they keep their order
    const touched = [];
    shared.transact(() => {
      for (const change of changes) {
        const at = order.indexOf(change.cell);
        if (change.action === 'delete') {
          shared.deleteCell(at);
          order.splice(at, 1);
        } else if (change.action === 'edit') {
          cells.get(change.cell).setSource(change.source);
          touched.push(change.cell);
        } else {
          const above = order.indexOf(last.get(change.cell) ?? (change.cell || below));
          const where = above < 0 ? order.length : above + 1;
          const type = change.kind === 'markdown' ? 'markdown' : 'code';
          const made = shared.insertCell(where, { cell_type: type, source: change.source }).getId();
          order.splice(where, 0, made);
          last.set(change.cell, made);
          touched.push(made);
        }
      }
    });
    setTimeout(() => mark(notebook, touched), SETTLE_MS);
    return refused;
  }

  // For some seconds one sees where something is new.
  function mark(notebook, ids) {
    const cells = notebook.widgets.filter(cell => ids.includes(cell.model?.id));
    for (const cell of cells) {
      cell.node.classList.add(CHANGED);
      setTimeout(() => cell.node.classList.remove(CHANGED), MARK_MS);
    }
  }

  async function plugin() {
    const { INotebookTracker } = await load('@jupyterlab/notebook');
    return {
      id: `${NAME}:prompts`,
      description: 'Shows %%loom cells as Markdown, changes cells as was allowed, goes on with cells after a reload.',
      autoStart: true,
      requires: [INotebookTracker],
      activate: (app, tracker) => {
        const serve = panel => {
          watchPanel(panel);
          serveCells(panel, tracker);
        };
        tracker.forEach(serve);
        tracker.widgetAdded.connect((_, panel) => serve(panel));
      }
    };
  }

  function addStyle() {
    const link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = new URL('style.css', here || document.baseURI).href;
    document.head.appendChild(link);
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: scope => {
      shared = scope;
    },
    get: async module => {
      if (module === './extension') {
        const made = await plugin();
        return () => ({ __esModule: true, default: made });
      }
      if (module === './style') {
        addStyle();
        return () => ({});
      }
      throw new Error(`${NAME}: no module ${module}`);
    }
  };
})();
