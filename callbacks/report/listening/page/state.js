"use strict";
// What the listener has done, drawn from one seed and kept in the browser, and the file of results.

const test = JSON.parse(document.getElementById("test").textContent);
const byName = new Map(test.trials.map(trial => [trial.trial, trial]));
const KEPT = `listening-${test.test}`;
const quiet = matchMedia("(prefers-reduced-motion: reduce)").matches;
const find = id => document.getElementById(id);
let state = null;
let keeps = true; // whether the browser lets this page keep anything

function shuffled(items, random) {
  const found = [...items];
  for (let last = found.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [found[last], found[other]] = [found[other], found[last]];
  }
  return found;
}

// The order of the trials and, in each, of its signals; in ABX [A, B, X], where X is one of the two.
function draw(seed) {
  const random = generator(seed);
  return shuffled(test.trials, random).map(trial => {
    const order = shuffled(trial.signals, random);
    if (test.method === "abx") order.push(order[random() < 0.5 ? 0 : 1]);
    return { trial: trial.trial, order, ratings: {}, answer: null, heard_s: {}, seconds: 0 };
  });
}

function fresh() {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0];
  return { test: test.test, listener: "", seed, started: null, finished: null, volume: 1, comment: "",
    screen: "start", place: 0, trials: draw(seed) };
}

function restore() {
  let kept = null;
  try { kept = JSON.parse(localStorage.getItem(KEPT)); } catch { keeps = false; }
  state = kept && kept.test === test.test ? kept : fresh();
}

function save() {
  try { localStorage.setItem(KEPT, JSON.stringify(state)); } catch { keeps = false; }
  find("unkept").hidden = keeps;
}

function forget() {
  try { localStorage.removeItem(KEPT); } catch { keeps = false; }
  state = fresh();
  save();
}

const done = kept => missing(kept).length === 0;

// Seconds heard by what was heard: "reference" and the signals' names, or a, b and x.
function result(kept, place) {
  const names = test.method === "abx" ? ["a", "b", "x"] : kept.order;
  const heard = Object.entries(kept.heard_s).map(([slot, seconds]) => [names[slot] ?? "reference", Math.round(1000 * seconds) / 1000]);
  const { trial, order, ratings, answer } = kept;
  const found = test.method === "abx" ? { answer } : { ratings };
  return { trial, place: place + 1, order, ...found, heard_s: Object.fromEntries(heard), seconds: Math.round(kept.seconds), complete: done(kept) };
}

function results() {
  return {
    format: "listening-test-results/1", test: test.test, method: test.method, listener: state.listener, seed: state.seed,
    started: state.started, finished: state.finished, volume: state.volume, comment: state.comment,
    complete: state.trials.every(done), trials: state.trials.map(result),
  };
}

function download() {
  const link = document.createElement("a");
  const url = URL.createObjectURL(new Blob([JSON.stringify(results(), null, 1)], { type: "application/json" }));
  link.href = url;
  link.download = `results-${test.test.slice(0, 6)}-${state.listener.replace(/[^\p{L}\p{N}_-]+/gu, "_")}.json`;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  say(`${link.download} is saved where this browser puts downloads.`);
}

function say(text) {
  find("status").textContent = text;
}
