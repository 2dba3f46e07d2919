// The screens in their order, start, training, trials and end, and the keys that work on them.
const method = test.method === "abx" ? abx : mushra;
const training = draw(0).find(kept => kept.trial === test.trials[0].trial); // its answers are not kept
const current = () => (state.screen === "training" ? training : state.trials[state.place]);
const onTrial = () => state.screen === "training" || state.screen === "trial";
let entered = 0; // when the screen came up, in ms
let loaded = false;

// Signals that were not heard for long enough, and those without an answer, which the training does not ask for.
const unheard = kept => method.slots(kept).filter(slot => !((kept.heard_s[slot] ?? 0) >= (kept.least_s ?? Infinity)));

function missing(kept) {
  const silent = unheard(kept).map(slot => ({ slot, heard: false }));
  const open = kept === training ? [] : method.unanswered(kept).map(slot => ({ slot, heard: true }));
  return [...silent, ...open];
}

async function show(screen, place = state.place) {
  leave();
  state.screen = screen;
  state.place = place;
  const id = onTrial() ? "trial" : screen;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
  find("continue").textContent = state.started ? "Continue" : "Start";
  find("listener").value = state.listener;
  find("comment").value = state.comment;
  find("sure").hidden = true;
  say("");
  save();
  if (onTrial()) await showTrial();
  document.querySelector(`#${id} h1`).focus();
  scrollTo(0, 0);
}

async function showTrial() {
  const kept = current();
  const trains = kept === training;
  const name = trains ? "Training" : `Trial ${state.place + 1} of ${state.trials.length}`;
  document.querySelector("#trial h1").textContent = name;
  find("progress").hidden = find("save").hidden = trains;
  find("progress").value = state.trials.filter(done).length;
  find("training").hidden = find("loudness").hidden = !trains;
  find("volume").value = Math.round(100 * state.volume);
  find("back").hidden = !trains && state.place === 0;
  find("next-text").textContent = trains ? (state.started ? "Continue" : "Begin the test") : "Next";
  method.show(kept);
  loaded = false;
  say("Loading …");
  player.volume = state.volume;
  try {
    if (!await player.load(method.sounds(kept), kept.heard_s) || current() !== kept || !onTrial()) return;
  } catch (error) {
    return say(`This browser cannot play the sounds, which are FLAC (${error.message}). Take a current Firefox, Chrome, Edge or Safari.`);
  }
  kept.least_s = player.least;
  loaded = true;
  entered = performance.now();
  say("");
  update();
}

// Time and seconds heard go to the trial, whatever comes next.
function leave() {
  if (!loaded) return;
  player.count();
  player.pause();
  if (state.screen === "trial") state.trials[state.place].seconds += Math.round(performance.now() - entered) / 1000;
  loaded = false;
}

function next() {
  if (!loaded) return;
  player.count();
  const open = missing(current());
  if (open.length) {
    const silent = open.filter(item => !item.heard).map(item => item.slot);
    const rest = open.filter(item => item.heard).map(item => item.slot);
    say([silent.length ? `Play ${method.list(silent)} for a second or more.` : "", rest.length ? method.want(rest) : ""].join(" "));
    return method.focus(open.find(item => item.slot !== "R")?.slot ?? "R");
  }
  if (state.screen === "training") {
    state.started ??= new Date().toISOString();
    return show("trial");
  }
  if (state.place + 1 < state.trials.length) return show("trial", state.place + 1);
  state.finished ??= new Date().toISOString();
  return show("end");
}

function back() {
  if (state.screen === "end") return show("trial", state.trials.length - 1);
  if (state.screen === "training") return show("start");
  if (state.screen === "trial" && state.place > 0) return show("trial", state.place - 1);
}

function hear(slot) {
  if (!loaded) return;
  say("");
  player.play(slot);
  method.focus(slot);
  update();
}

function update() {
  player.count();
  for (const button of document.querySelectorAll("[data-slot]")) {
    const slot = button.dataset.slot === "R" ? "R" : Number(button.dataset.slot);
    button.setAttribute("aria-pressed", player.running && player.slot === slot);
    button.classList.toggle("heard", (player.heard[slot] ?? 0) >= player.least);
  }
  find("pause-text").textContent = player.running ? "Pause" : "Play on";
  find("loop").setAttribute("aria-pressed", player.looping);
  const length = player.duration || 1;
  const [start, end] = player.bounds;
  find("track").style.setProperty("--at", player.position / length);
  find("track").style.setProperty("--from", start / length);
  find("track").style.setProperty("--to", end / length);
}

const actions = {
  " ": () => { if (loaded) player.toggle(method.first); update(); },
  L: () => { player.setLoop(!player.looping); update(); },
  S: () => { player.setEdge(false); update(); },
  E: () => { player.setEdge(true); update(); },
  D: download,
  P: back,
  Enter: next,
};
const onScreen = { trial: [" ", "L", "S", "E", "D", "P", "Enter"], training: [" ", "L", "S", "E", "P", "Enter"], end: ["D", "P"] };

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const target = event.target;
  if (target.matches("textarea, input[type=text]")) return;
  const native = event.key === "Enter" || event.key === " ";
  if (native && target.matches("button, summary, a, input[type=radio]") && !(event.key === "Enter" && target.type === "radio")) return;
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
  const slot = onTrial() ? method.slotOf(key, digit) : null;
  const action = onScreen[state.screen]?.includes(key) ? actions[key] : null;
  if (slot !== null) hear(slot);
  else if (onTrial() && method.press(key, digit)) { /* done */ }
  else if (action) action();
  else return;
  event.preventDefault();
});

document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (button?.dataset.slot !== undefined) return hear(button.dataset.slot === "R" ? "R" : Number(button.dataset.slot));
  if (button?.dataset.key) actions[button.dataset.key]();
});

find("start-form").addEventListener("submit", event => {
  event.preventDefault();
  state.listener = find("listener").value.trim();
  if (!state.listener) return say("Write a name or number first.");
  show(state.started ? "trial" : "training");
});
find("comment").addEventListener("input", () => { state.comment = find("comment").value; save(); });
find("volume").addEventListener("input", () => { state.volume = find("volume").value / 100; player.setVolume(state.volume); save(); });
find("again").addEventListener("click", () => { find("sure").hidden = false; find("no").focus(); });
find("no").addEventListener("click", () => { find("sure").hidden = true; find("again").focus(); });
find("yes").addEventListener("click", () => { forget(); show("start"); });
addEventListener("pagehide", () => { if (loaded) { leave(); save(); } });

restore();
setInterval(() => { if (loaded && player.running) update(); }, quiet ? 500 : 60);
show(state.screen);
