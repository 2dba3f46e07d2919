"use strict";
// Runs in a worker of its own, so that the page answers while a network runs: unpacks the models and runs them, one at a time.
let ort = null;
const sessions = new Map();

// Base64 of a gzip file to its bytes.
async function unpack(text) {
  let bytes = Uint8Array.fromBase64?.(text);
  if (!bytes) {
    const letters = atob(text);
    bytes = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const actions = {
  // ONNX Runtime Web, from the text of its module and its WebAssembly.
  async runtime({ script, wasm }) {
    const [code, binary] = await Promise.all([unpack(script), unpack(wasm)]);
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    ort = await import(address);
    URL.revokeObjectURL(address);
    ort.env.wasm.wasmBinary = binary.buffer;
    ort.env.wasm.numThreads = 1; // several need headers that a file does not have
    ort.env.wasm.proxy = false; // this is a worker
  },
  async model({ name, data }) {
    sessions.set(name, await ort.InferenceSession.create(await unpack(data), { executionProviders: ["wasm"] }));
  },
  // Audio [T] to codes [K, F].
  async encode({ name, audio }) {
    const found = await sessions.get(name).run({ audio: new ort.Tensor("float32", audio, [1, 1, audio.length]) });
    return { codes: Array.from(found.codes.data, Number) };
  },
  // Codes and erasures [K, F] to audio [F * hop].
  async decode({ name, codes, erased, books }) {
    const shape = [1, books, codes.length / books];
    const found = await sessions.get(name).run({
      codes: new ort.Tensor("int64", BigInt64Array.from(codes, BigInt), shape),
      erased: new ort.Tensor("bool", Uint8Array.from(erased, Number), shape),
    });
    return { audio: found.audio.data };
  },
};

let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(async () => {
    const begun = performance.now();
    try {
      const found = await actions[data.action](data);
      postMessage({ id: data.id, milliseconds: performance.now() - begun, ...found });
    } catch (error) {
      postMessage({ id: data.id, error: String(error?.message ?? error) });
    }
  });
};
