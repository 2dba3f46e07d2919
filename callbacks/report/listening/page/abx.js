// An ABX trial: X is A or B, and the listener says which (Clark 1982).
const LETTERS = ["A", "B", "X"];

const abx = {
  keys: LETTERS,
  first: 0,

  sounds(kept) { return new Map(kept.order.map((name, slot) => [slot, test.sounds[name]])); },

  show(kept) {
    for (const input of document.querySelectorAll("#answer input")) {
      input.checked = input.value === kept.answer;
      input.onchange = () => this.answer(input.value);
    }
  },

  answer(value) {
    current().answer = value;
    for (const input of document.querySelectorAll("#answer input")) input.checked = input.value === value;
    save();
  },

  focus() {},
  slotOf(key) { return LETTERS.includes(key) ? LETTERS.indexOf(key) : null; },

  // Keys beside those that play: 1 and 2 answer.
  press(key, digit) {
    if (digit !== "1" && digit !== "2") return false;
    const value = digit === "1" ? "a" : "b";
    this.answer(value);
    document.querySelector(`#answer input[value=${value}]`).focus();
    return true;
  },

  unanswered(kept) { return kept.answer === null ? ["answer"] : []; },
  slots() { return [0, 1, 2]; },
  list(slots) { return slots.map(slot => LETTERS[slot]).join(", "); },
  want() { return "Say whether X is A or B."; },
};
