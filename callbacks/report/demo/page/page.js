// The controls: what is chosen, what is heard and drawn for it, and the keys.
const RATES = [0, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5];
const LAST = { flips: RATES.length - 1, bursts: RATES.indexOf(0.4), packets: RATES.length - 1 }; // longest burst share: 0.8
const IDLE = 1000; // ms
const RATE_NAMES = { flips: "Bits flipped", bursts: "Bits flipped, in bursts", packets: "Packets lost" };
const engine = new Engine();
const player = new Player();
const recorder = new Recorder();
const clips = content.clips.map(clip => ({ ...clip, samples: null }));
const chosen = { codec: content.codecs[0], clip: clips[0], channel: "flips", step: RATES.indexOf(0.05), burst: 20, packet: 2, concealment: "repeat", seed: 1 };
const coded = new Map(); // "codec, clip" to { codes, clean, seconds }
let shown = null; // what was drawn last: { audio, sent, codec }
let firstSound = null; // ms from the start of the page to the first decoded sound

const percent = share => `${Number((100 * share).toPrecision(3))} %`;
const count = number => number.toLocaleString("en");
const seconds = milliseconds => `${(milliseconds / 1000).toFixed(2)} s`;

function say(text, failed = false) {
  find("status").textContent = text;
  find("status").classList.toggle("failed", failed);
}

function settings() {
  const { channel, step, seed, burst, packet, concealment } = chosen;
  return { channel, rate: RATES[Math.min(step, LAST[channel])], seed, burst, packet, concealment };
}

async function samplesOf(clip) {
  return clip.samples ??= await embedded(clip.asset);
}

// The codes of a clip, encoded once.
async function codesOf(codec, clip) {
  const key = `${codec.name}, ${clips.indexOf(clip)}`;
  if (!coded.has(key)) {
    const { codes, milliseconds } = await engine.encode(codec, await samplesOf(clip));
    coded.set(key, { codes, clean: null, milliseconds });
  }
  return coded.get(key);
}

// Decoded audio, as long as the clip.
async function decode({ codec, clip }, codes, erased) {
  const { audio, milliseconds } = await engine.decode(codec, codes, erased);
  return { audio: audio.subarray(0, Math.ceil(clip.samples.length * codec.output_rate / content.rate)), milliseconds };
}

// Encodes, transmits and decodes what is chosen; plays and draws it.
async function refresh() {
  const now = { codec: chosen.codec, clip: chosen.clip };
  const current = () => now.codec === chosen.codec && now.clip === chosen.clip;
  engine.prepare(now.codec);
  const signal = await codesOf(now.codec, now.clip);
  if (!current()) return;
  const sent = transmit(signal.codes, now.codec, settings());
  drawBits("bits", sent, now.codec.widths);
  tell(now, sent);
  const received = await decode(now, sent.codes, sent.erased);
  if (!current()) return;
  player.set("channel", received.audio, now.codec.output_rate);
  firstSound ??= performance.now();
  shown = { ...now, sent, audio: received.audio };
  drawReceived();
  find("decode-time").textContent = seconds(received.milliseconds);
  find("encode-time").textContent = `to decode, ${seconds(signal.milliseconds)} to encode`;
  if (latest.again) return; // what is new comes first
  signal.clean ??= (await decode(now, signal.codes, signal.codes.map(() => false))).audio;
  if (current()) player.set("codec", signal.clean, now.codec.output_rate);
  setTimeout(prepareNext, IDLE);
}

// Loads the models of another codec while nothing else is to do.
function prepareNext() {
  const next = content.codecs.find(codec => !engine.loads.has(codec.encoder) || !engine.loads.has(codec.decoder));
  if (next && !latest.running) engine.prepare(next);
}

const latest = new Latest(refresh);

function update() {
  if (!chosen.clip.samples) return; // it comes with its samples
  latest.run().catch(error => say(`The codec does not run in this browser: ${error.message}`, true));
}

// The facts in words and numbers.
function tell({ codec, clip }, sent) {
  const { bits, hit, lost } = counts(sent);
  const total = sent.frames * sent.width;
  const bytes = packed(sent.sent).length;
  const rate = sent.width * codec.frame_rate;
  find("bit-rate").textContent = `${(rate / 1000).toFixed(2)} kbit/s`;
  find("bits-a-frame").textContent = `${sent.width} bits × ${codec.frame_rate} frames a second`;
  find("bytes").textContent = `${count(bytes)} bytes`;
  find("times-less").textContent = `${count(sent.frames)} frames; as 16-bit samples ${count(Math.round(2 * clip.samples.length / bytes))} times as much`;
  const packets = chosen.channel === "packets";
  const errors = packets ? `${lost} of ${count(sent.frames)} frames lost` : `${count(bits)} of ${count(total)} bits flipped`;
  find("errors").textContent = errors;
  find("frames-hit").textContent = packets
    ? `${percent(lost / sent.frames)}; packets of ${chosen.packet * 1000 / codec.frame_rate} ms`
    : `${percent(bits / total)}; ${count(hit)} of ${count(sent.frames)} frames hit`;
  find("bits").setAttribute("aria-label", `Bits on the channel: ${errors}`);
  say(`${codec.name}, ${RATE_NAMES[chosen.channel].toLowerCase()} at ${percent(settings().rate)}: ${errors}.`);
}

function drawReceived() {
  if (!shown) return;
  drawWave("received-wave", shown.audio, peakOf(shown.clip.samples));
  drawSpectrum("received-spectrum", shown.audio);
}

function drawAll() {
  if (!chosen.clip.samples) return;
  drawWave("original-wave", chosen.clip.samples, peakOf(chosen.clip.samples));
  drawSpectrum("original-spectrum", chosen.clip.samples);
  if (shown?.clip === chosen.clip) {
    drawBits("bits", shown.sent, shown.codec.widths);
    drawReceived();
  }
}

async function chooseClip(clip) {
  chosen.clip = clip;
  find("clip").value = clips.indexOf(clip);
  await samplesOf(clip);
  if (chosen.clip !== clip) return;
  player.load(clip.samples, content.rate);
  find("seconds").textContent = `${(clip.samples.length / content.rate).toFixed(1)} s`;
  drawAll();
  update();
}

function chooseCodec(codec) {
  chosen.codec = codec;
  find("about").textContent = codec.about;
  update();
}

function chooseChannel(channel) {
  chosen.channel = channel;
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== channel;
  find("rate-name").textContent = RATE_NAMES[channel];
  find("rate").max = LAST[channel];
  chooseStep(Math.min(chosen.step, LAST[channel]));
}

function chooseStep(step) {
  chosen.step = Math.max(0, Math.min(step, LAST[chosen.channel]));
  find("rate").value = chosen.step;
  find("rate-value").textContent = percent(RATES[chosen.step]);
  find("rate").setAttribute("aria-valuetext", percent(RATES[chosen.step]));
  update();
}

function hear(name) {
  player.hear(name);
  document.querySelector(`[name=heard][value=${name}]`).checked = true;
  if (!player.running) player.play();
  showPlayer();
}

function showPlayer() {
  find("play-text").textContent = player.running ? "Pause" : "Play";
  find("head").hidden = !player.duration;
  find("head").style.left = `${100 * player.position / (player.duration || 1)}%`;
}

function addClip(name, samples) {
  const clip = { name, samples };
  clips.push(clip);
  find("clip").add(new Option(name, clips.length - 1));
  return chooseClip(clip);
}

// A file or a recording becomes a clip, or the status says why it cannot; whether it did.
async function take(name, bytesOf) {
  try {
    const { samples, cut } = await decoded(await bytesOf());
    await addClip(name, samples);
    if (cut) say(`Only the first ${LONGEST} s of it are taken.`);
    return true;
  } catch (error) {
    say(error.message, true);
    return false;
  }
}

let recordings = 0;
function showRecorder(on) {
  find("record").setAttribute("aria-pressed", on);
  find("record-text").textContent = on ? "Stop" : "Record";
}

async function record() {
  if (recorder.running) return recorder.stop();
  player.pause();
  showPlayer();
  const begun = () => { showRecorder(true); say(`Recording: speak, then stop. It ends by itself after ${LONGEST} s.`); };
  const taken = await take(`Recording ${recordings + 1}`, () => recorder.record(begun));
  showRecorder(false);
  if (taken) { recordings++; hear("channel"); }
}

const actions = {
  " ": () => { player.toggle(); showPlayer(); },
  1: () => hear("original"),
  2: () => hear("codec"),
  3: () => hear("channel"),
  N: () => { chosen.seed++; update(); },
  M: record,
  ArrowLeft: () => chooseStep(chosen.step - 1),
  ArrowRight: () => chooseStep(chosen.step + 1),
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const { target } = event;
  if (target.matches("select") || (key === " " && target.matches("button, summary"))) return;
  if (key.startsWith("Arrow") && target.matches("input")) return; // the browser moves it
  if (!actions[key]) return;
  event.preventDefault();
  actions[key]();
});

const on = (id, event, action) => find(id).addEventListener(event, action);
on("play", "click", actions[" "]);
on("anew", "click", actions.N);
on("record", "click", record);
on("open", "click", () => find("file").click());
on("file", "change", () => {
  const [file] = find("file").files;
  find("file").value = "";
  if (file) take(file.name, () => file.arrayBuffer());
});
on("clip", "change", () => chooseClip(clips[find("clip").value]));
on("rate", "input", () => chooseStep(Number(find("rate").value)));
for (const id of ["burst", "packet"]) on(id, "change", () => { chosen[id] = Number(find(id).value); update(); });
on("concealment", "change", () => { chosen.concealment = find("concealment").value; update(); });
document.addEventListener("change", ({ target }) => {
  if (target.name === "codec") chooseCodec(content.codecs[target.value]);
  if (target.name === "channel") chooseChannel(target.value);
  if (target.name === "heard") hear(target.value);
});
on("pictures", "click", event => {
  const box = find("pictures").getBoundingClientRect();
  player.seek((event.clientX - box.left) / box.width * player.duration);
  showPlayer();
});

function animate() {
  if (player.running) showPlayer();
  requestAnimationFrame(animate);
}

new ResizeObserver(drawAll).observe(find("pictures"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
find("about").textContent = chosen.codec.about;
chooseClip(chosen.clip);
chooseChannel("flips");
requestAnimationFrame(animate);
