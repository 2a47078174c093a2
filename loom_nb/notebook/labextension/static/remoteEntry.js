// Shows `%%loom` cells in JupyterLab 4 and Notebook 7 as what they are: a prompt in Markdown.
//
// A hand-written federated extension, no build step: JupyterLab loads this file as a plain script,
// calls init() with the modules it shares, and asks get() for the modules named in package.json.
// It only changes how a cell's text is coloured and wrapped; the cell stays a code cell.

(() => {
  'use strict';

  const NAME = 'loom-nb';
  const MIME = 'text/x-ipythongfm';
  const CLASS = 'loom-Prompt';
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

  async function plugin() {
    const { INotebookTracker } = await load('@jupyterlab/notebook');
    return {
      id: `${NAME}:prompts`,
      description: 'Shows %%loom cells as Markdown.',
      autoStart: true,
      requires: [INotebookTracker],
      activate: (app, tracker) => {
        tracker.forEach(watchPanel);
        tracker.widgetAdded.connect((_, panel) => watchPanel(panel));
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
