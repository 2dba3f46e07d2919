// Plays a clip in a loop: original, decoded without errors and behind the channel run in step, and one of them is heard.
const FADE = 0.008; // s

class Player {
  constructor() {
    this.context = null;
    this.buffers = new Map(); // name to { samples, rate }
    this.sources = new Map();
    this.wanted = "channel";
    this.running = false;
    this.at = 0; // s, where it was started or paused
    this.duration = 0; // s
  }

  // What sounds: the wanted signal, or the original while that is not decoded yet.
  get heard() { return this.buffers.has(this.wanted) ? this.wanted : "original"; }

  get position() {
    if (!this.running || !this.duration) return this.at;
    return (this.at + Math.max(0, this.context.currentTime - this.since)) % this.duration;
  }

  // Another clip: its original, and nothing decoded.
  load(samples, rate) {
    const runs = this.running;
    this.pause();
    this.buffers = new Map();
    this.at = 0;
    this.duration = samples.length / rate;
    this.set("original", samples, rate);
    if (runs) this.play();
  }

  // Samples of one signal, heard at once from where the others are.
  set(name, samples, rate) {
    this.buffers.set(name, { samples, rate });
    if (this.running) { this.begin(name); this.balance(); }
  }

  drop(name) {
    this.buffers.delete(name);
    if (this.running) { this.end(name); this.balance(); }
  }

  play() {
    if (this.running || !this.buffers.size) return;
    this.context ??= new AudioContext();
    this.context.resume();
    this.since = this.context.currentTime + 0.02;
    this.running = true;
    for (const name of this.buffers.keys()) this.begin(name);
    this.balance();
  }

  begin(name) {
    this.end(name);
    const { samples, rate } = this.buffers.get(name);
    const buffer = this.context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(samples, 0);
    const source = this.context.createBufferSource();
    const gain = this.context.createGain();
    source.buffer = buffer;
    source.loop = true;
    source.loopEnd = this.duration;
    gain.gain.value = 0;
    source.connect(gain).connect(this.context.destination);
    const start = Math.max(this.since, this.context.currentTime + 0.01);
    source.start(start, (this.at + start - this.since) % this.duration);
    this.sources.set(name, { source, gain });
  }

  end(name) {
    const found = this.sources.get(name);
    if (!found) return;
    const now = this.context.currentTime;
    found.gain.gain.setTargetAtTime(0, now, FADE / 3);
    found.source.stop(now + 4 * FADE);
    this.sources.delete(name);
  }

  balance() {
    for (const [name, { gain }] of this.sources) {
      gain.gain.setTargetAtTime(name === this.heard ? 1 : 0, this.context.currentTime, FADE / 3);
    }
  }

  hear(name) {
    this.wanted = name;
    if (this.running) this.balance();
  }

  pause() {
    if (!this.running) return;
    this.at = this.position;
    for (const name of [...this.sources.keys()]) this.end(name);
    this.running = false;
  }

  toggle() {
    if (this.running) this.pause();
    else this.play();
  }

  seek(seconds) {
    const runs = this.running;
    this.pause();
    this.at = Math.max(0, Math.min(seconds, this.duration - 0.01));
    if (runs) this.play();
  }
}
