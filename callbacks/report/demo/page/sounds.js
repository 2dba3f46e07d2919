// The clips: those of the page, files of the user, and what the microphone hears, all mono at the codecs' sample rate.
const LONGEST = 20; // s
const PEAK = 0.5; // of files and recordings, as speech in training is rarely louder

const peakOf = samples => samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

// Embedded samples of 16 bits.
async function embedded(name) {
  const letters = atob(find(`asset-${name}`).textContent.trim());
  const packedBytes = Uint8Array.from(letters, letter => letter.charCodeAt(0));
  const stream = new Blob([packedBytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const view = new DataView(await new Response(stream).arrayBuffer());
  return Float32Array.from({ length: view.byteLength / 2 }, (_, n) => view.getInt16(2 * n, true) / 32768);
}

// Bytes of an audio file, resampled, mixed down, cut to LONGEST and brought to a peak of PEAK.
async function decoded(bytes) {
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, content.rate).decodeAudioData(bytes);
  } catch {
    throw new Error("This browser cannot read that as audio: take a WAV, FLAC, MP3 or Opus file.");
  }
  const samples = new Float32Array(Math.min(buffer.length, LONGEST * content.rate));
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const one = buffer.getChannelData(channel);
    for (let n = 0; n < samples.length; n++) samples[n] += one[n] / buffer.numberOfChannels;
  }
  const peak = peakOf(samples);
  if (!(peak > 1e-4)) throw new Error("There is no sound in it: try again, closer to the microphone or with another file.");
  return { samples: samples.map(value => value * PEAK / peak), cut: buffer.length > samples.length };
}

const REFUSALS = {
  NotAllowedError: "The microphone is not allowed: allow it in the browser's settings for this page, or open a file.",
  NotFoundError: "There is no microphone: connect one, or open a file.",
};

class Recorder {
  constructor() { this.recorder = null; }

  get running() { return this.recorder !== null; }

  // Resolves with the bytes of a recording once `stop` was called or LONGEST is over; `begun` is called when it starts.
  async record(begun) {
    if (!navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder) {
      throw new Error("This browser gives no microphone to a page from here: open the page over https or from localhost, or open a file.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, autoGainControl: false } });
    } catch (error) {
      throw new Error(REFUSALS[error.name] ?? `The microphone does not start (${error.message}): open a file instead.`);
    }
    const parts = [];
    this.recorder = new MediaRecorder(stream, { audioBitsPerSecond: 128000 });
    this.recorder.ondataavailable = event => parts.push(event.data);
    const stopped = new Promise(resolve => { this.recorder.onstop = resolve; });
    this.recorder.start();
    const timer = setTimeout(() => this.stop(), 1000 * LONGEST);
    begun();
    await stopped;
    clearTimeout(timer);
    for (const track of stream.getTracks()) track.stop();
    this.recorder = null;
    return new Blob(parts).arrayBuffer();
  }

  stop() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }
}
