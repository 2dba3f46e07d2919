// The worker from the page's side: what it is asked for, and what it has loaded already.
const content = JSON.parse(document.getElementById("content").textContent);
const find = id => document.getElementById(id);

class Engine {
  constructor() {
    const address = URL.createObjectURL(new Blob([find("worker").textContent], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.waiting = new Map();
    this.loads = new Map(); // asset to the promise that its model is loaded
    this.count = 0;
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error === undefined) resolve(data);
      else reject(new Error(data.error));
    };
    this.worker.onerror = event => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || "the worker did not start"));
      this.waiting.clear();
    };
    this.ready = this.ask("runtime", { script: this.asset("runtime"), wasm: this.asset("wasm") });
    this.ready.catch(() => {}); // the first model tells
  }

  // The text of an asset; the page lets go of it.
  asset(name) {
    const element = find(`asset-${name}`);
    const text = element.textContent.trim();
    element.remove();
    return text;
  }

  ask(action, request) {
    return new Promise((resolve, reject) => {
      this.waiting.set(++this.count, { resolve, reject });
      this.worker.postMessage({ id: this.count, action, ...request });
    });
  }

  // Loads a model once; codecs that share a decoder share its session.
  load(name) {
    if (!this.loads.has(name)) {
      this.loads.set(name, this.ready.then(() => this.ask("model", { name, data: this.asset(name) })));
    }
    return this.loads.get(name);
  }

  // Starts to load both models of a codec; whoever needs them meets their errors.
  prepare(codec) {
    for (const name of [codec.encoder, codec.decoder]) this.load(name).catch(() => {});
  }

  async encode(codec, audio) {
    await this.load(codec.encoder);
    return this.ask("encode", { name: codec.encoder, audio });
  }

  async decode(codec, codes, erased) {
    await this.load(codec.decoder);
    return this.ask("decode", { name: codec.decoder, codes, erased, books: codec.sizes.length });
  }
}

// Runs one task at a time and, of those asked for meanwhile, the latest alone.
class Latest {
  constructor(task) {
    this.task = task;
    this.running = null;
    this.again = false;
  }

  run() {
    if (this.running) { this.again = true; return this.running; }
    this.running = (async () => {
      try {
        do { this.again = false; await this.task(); } while (this.again);
      } finally { this.running = null; }
    })();
    return this.running;
  }
}
