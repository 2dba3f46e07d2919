// Plays the signals of a trial in step: all run at once and one is heard, so that another goes on at the same sample.
const FADE = 0.005; // s
const ENOUGH = 1; // s that a signal must be heard, or the whole of a shorter one

class Player {
  constructor() {
    this.context = null;
    this.buffers = new Map(); // slot ("R", 0, 1, ...) to AudioBuffer
    this.sources = new Map();
    this.slot = null; // heard, or paused
    this.running = false;
    this.at = 0; // s, where it was started or paused
    this.looping = true;
    this.region = null; // [start, end] in s
    this.heard = {};
    this.volume = 1;
  }

  // `sounds` is slot to base64 of a FLAC; `heard` collects seconds by slot.
  async load(sounds, heard) {
    this.stop();
    this.context ??= new AudioContext();
    this.heard = heard;
    this.region = null;
    this.slot = null;
    this.buffers = new Map();
    const found = await Promise.all([...sounds].map(async ([slot, text]) => {
      const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
      return [slot, await this.context.decodeAudioData(bytes.buffer)];
    }));
    if (this.heard !== heard) return false; // another trial came up meanwhile
    this.buffers = new Map(found);
    return true;
  }

  get duration() { return this.buffers.size ? [...this.buffers.values()][0].duration : 0; }
  get bounds() { return this.region ?? [0, this.duration]; }

  get position() {
    if (!this.running) return this.at;
    const place = this.at + Math.max(0, this.context.currentTime - this.since);
    const [start, end] = this.bounds;
    if (!this.looping) return Math.min(place, this.duration);
    return place < end ? place : start + (place - end) % (end - start);
  }

  get least() { return Math.min(ENOUGH, 0.9 * this.duration); }

  play(slot) {
    if (!this.buffers.has(slot)) return;
    this.count();
    this.slot = slot;
    if (!this.running) return this.start();
    for (const [other, { gain }] of this.sources) {
      gain.gain.setTargetAtTime(other === slot ? this.volume : 0, this.context.currentTime, FADE / 3);
    }
  }

  start() {
    this.context.resume();
    const [first, last] = this.bounds;
    if (this.at >= last - 0.01 || (this.region && this.at < first)) this.at = first;
    this.since = this.context.currentTime + 0.03;
    this.mark = this.since;
    for (const [slot, buffer] of this.buffers) {
      const source = this.context.createBufferSource();
      const gain = this.context.createGain();
      source.buffer = buffer;
      source.loop = this.looping;
      [source.loopStart, source.loopEnd] = this.bounds;
      gain.gain.value = slot === this.slot ? this.volume : 0;
      source.connect(gain).connect(this.context.destination);
      source.start(this.since, this.at);
      this.sources.set(slot, { source, gain });
    }
    this.running = true;
  }

  // Seconds since the last count go to the signal that is heard.
  count() {
    if (!this.running) return;
    const now = this.context.currentTime;
    if (now > this.mark) {
      this.heard[this.slot] = Math.round(1000 * ((this.heard[this.slot] ?? 0) + now - this.mark)) / 1000;
      this.mark = now;
    }
    if (!this.looping && this.position >= this.duration - 0.005) { this.pause(); this.at = 0; }
  }

  pause() {
    if (!this.running) return;
    const place = this.position;
    const heard = this.context.currentTime;
    if (heard > this.mark) this.heard[this.slot] = (this.heard[this.slot] ?? 0) + heard - this.mark;
    for (const { source, gain } of this.sources.values()) {
      gain.gain.setTargetAtTime(0, heard, FADE / 3);
      source.stop(heard + 4 * FADE);
    }
    this.sources.clear();
    this.running = false;
    this.at = place;
  }

  stop() {
    this.pause();
    this.at = 0;
  }

  toggle(first) {
    if (this.running) { this.count(); this.pause(); } else this.play(this.slot ?? first);
  }

  // Goes on at the same place after a change of the loop.
  changed(change) {
    const runs = this.running;
    this.count();
    this.pause();
    change();
    if (runs) this.start();
  }

  setLoop(on) { this.changed(() => { this.looping = on; if (!on) this.region = null; }); }

  // Either end of the region that is repeated, at the place that plays now.
  setEdge(last) {
    const place = this.position;
    this.changed(() => {
      const [start, end] = this.bounds;
      this.looping = true;
      this.region = last ? [place > start + 0.2 ? start : 0, place] : [place, place < end - 0.2 ? end : this.duration];
      if (this.region[1] - this.region[0] < 0.2) this.region = null;
    });
  }

  setVolume(value) {
    this.volume = value;
    const heard = this.sources.get(this.slot);
    if (heard) heard.gain.gain.setTargetAtTime(value, this.context.currentTime, FADE);
  }
}

const player = new Player();
