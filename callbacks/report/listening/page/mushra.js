// A MUSHRA trial: the open reference, and a slider from 0 to 100 for each signal (ITU-R BS.1534-3).
const BANDS = ["Bad", "Poor", "Fair", "Good", "Excellent"];
const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "A", "B"]; // of signals 1 to 12

const band = value => BANDS[Math.min(4, Math.floor(value / 20))];
const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100 };

const mushra = {
  keys: KEYS,
  first: "R",

  sounds(kept) {
    const trial = byName.get(kept.trial);
    return new Map([["R", test.sounds[trial.reference]], ...kept.order.map((name, slot) => [slot, test.sounds[name]])]);
  },

  show(kept) {
    const rows = kept.order.map((name, slot) => {
      const row = find("signal").content.firstElementChild.cloneNode(true);
      const button = row.querySelector("button");
      const slider = row.querySelector("input");
      button.dataset.slot = slot;
      button.setAttribute("aria-label", `Play signal ${slot + 1}`);
      button.setAttribute("aria-keyshortcuts", KEYS[slot]);
      row.querySelector("b").textContent = slot + 1;
      const key = row.querySelector("kbd");
      key.textContent = KEYS[slot];
      key.hidden = KEYS[slot] === String(slot + 1);
      slider.setAttribute("aria-label", `Quality of signal ${slot + 1}`);
      slider.addEventListener("input", () => this.rate(slot, Number(slider.value)));
      slider.addEventListener("pointerup", () => this.rate(slot, Number(slider.value)));
      slider.addEventListener("keydown", event => this.key(event, slot, slider));
      return row;
    });
    find("signals").replaceChildren(...rows);
    kept.order.forEach((name, slot) => this.update(kept, slot));
  },

  // The same steps in every browser; a key counts as a rating also where the value stays.
  key(event, slot, slider) {
    const step = moves[event.key];
    if (step === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.rate(slot, Math.max(0, Math.min(100, Number(slider.value) + step)));
  },

  rate(slot, value) {
    const kept = current();
    kept.ratings[kept.order[slot]] = value;
    this.update(kept, slot);
    save();
  },

  update(kept, slot) {
    const row = find("signals").children[slot];
    const slider = row.querySelector("input");
    const value = kept.ratings[kept.order[slot]];
    slider.value = value ?? 0;
    slider.setAttribute("aria-valuetext", value === undefined ? "not rated" : `${value}, ${band(value)}`);
    row.querySelector("output").textContent = value === undefined ? "–" : value;
    row.querySelector(".band").textContent = value === undefined ? "not rated" : band(value);
    row.classList.toggle("rated", value !== undefined);
  },

  focus(slot) {
    if (slot !== "R") find("signals").children[slot].querySelector("input").focus();
  },

  slotOf(key, digit) {
    if (key === "R") return "R";
    const slot = KEYS.indexOf(digit ?? key);
    return slot >= 0 && slot < current().order.length ? slot : null;
  },

  press() { return false; },

  // The signals without a rating.
  unanswered(kept) {
    return kept.order.map((name, slot) => slot).filter(slot => kept.ratings[kept.order[slot]] === undefined);
  },

  slots(kept) { return ["R", ...kept.order.keys()]; },

  // "the reference, signals 2, 5".
  list(slots) {
    const numbers = slots.filter(slot => slot !== "R").map(slot => slot + 1);
    const signals = numbers.length ? [`signal${numbers.length > 1 ? "s" : ""} ${numbers.join(", ")}`] : [];
    return [...(slots.includes("R") ? ["the reference"] : []), ...signals].join(", ");
  },

  want(slots) { return `Rate ${this.list(slots)}.`; },
};
