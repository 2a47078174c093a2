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
  function serveCells(panel) {
    let comm = null;

    const attach = () => {
      const kernel = panel.sessionContext.session?.kernel;
      if (!kernel || (comm && !comm.isDisposed && comm.kernel === kernel)) {
        return;
      }
      const fresh = kernel.createComm(TARGET);
      comm = fresh;
      fresh.onMsg = message => {
        const { id, changes, below } = message.content.data;
        const refused = carryOut(panel, changes, below);
        const done = refused.every(why => !why);
        fresh.send({ method: 'custom', content: { id, done, refused } });
      };
      fresh.onClose = () => {
        comm = comm === fresh ? null : comm;
      };
      fresh.open({});
    };

    const look = async () => {
      const kernel = panel.sessionContext.session?.kernel;
      if (kernel) {
        const reply = await kernel.requestCommInfo({ target_name: TARGET });
        if (reply?.content?.comms && Object.keys(reply.content.comms).length) {
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
      description: 'Shows %%loom cells as Markdown, and carries out changes of cells that were allowed.',
      autoStart: true,
      requires: [INotebookTracker],
      activate: (app, tracker) => {
        const serve = panel => {
          watchPanel(panel);
          serveCells(panel);
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
