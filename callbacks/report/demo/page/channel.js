"use strict";
// Codes as packed bits, the three channels that change them, and what the receiver makes of the result. No DOM in here.

// `count` numbers in [0, 1), a function of the seed and of what they are for: equal at every error rate, so that errors nest.
const PURPOSES = { bits: 1, states: 2, packets: 3 };
function draws(seed, purpose, count) {
  const random = generator(Math.imul(seed >>> 0, 0x9E3779B1) ^ Math.imul(PURPOSES[purpose], 0x85EBCA6B));
  return Float64Array.from({ length: count }, random);
}

// Codes [K, F] as bits [F, n] of natural binary codewords: frame by frame, codebook by codebook, high bit first.
function codesToBits(codes, widths) {
  const frames = codes.length / widths.length;
  const bits = new Uint8Array(frames * widths.reduce((sum, width) => sum + width, 0));
  let at = 0;
  for (let frame = 0; frame < frames; frame++) {
    widths.forEach((width, k) => {
      for (let place = width - 1; place >= 0; place--) bits[at++] = Math.floor(codes[k * frames + frame] / 2 ** place) % 2;
    });
  }
  return bits;
}

// Bits [F, n] back to codes [K, F]; a codeword that stands for no entry of its codebook is an erasure, its code 0.
function bitsToCodes(bits, widths, sizes) {
  const frames = bits.length / widths.reduce((sum, width) => sum + width, 0);
  const codes = new Array(widths.length * frames).fill(0);
  const erased = new Array(codes.length).fill(false);
  let at = 0;
  for (let frame = 0; frame < frames; frame++) {
    widths.forEach((width, k) => {
      let code = 0;
      for (let place = 0; place < width; place++) code = 2 * code + bits[at++];
      const entry = k * frames + frame;
      if (code < sizes[k]) codes[entry] = code;
      else erased[entry] = true;
    });
  }
  return { codes, erased };
}

// The bytes that the bits [F, n] fill without a gap, high bit first; zeros fill the last one.
function packed(bits) {
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  bits.forEach((bit, place) => { bytes[place >> 3] |= bit << (7 - (place & 7)); });
  return bytes;
}

// A stationary chain of two states, true in the bad one, of share `share` and mean length `length` (Gilbert 1960).
// Nested over shares for one seed as long as length >= 1 / (1 - share).
function badStates(random, share, length) {
  const stay = 1 - 1 / length;
  const enter = share < 1 ? Math.min(1, share / (length * (1 - share))) : 1;
  const bad = new Array(random.length).fill(share === 1);
  if (share === 0 || share === 1) return bad;
  let state = false;
  random.forEach((draw, place) => {
    state = draw < (place === 0 ? share : state ? stay : enter);
    bad[place] = state;
  });
  return bad;
}

// Each channel says which of `frames * width` bits are flipped and which frames are lost, at an error rate.
const BAD_ERROR_RATE = 0.5; // in the bad state of a burst, where the signal is lost
const channels = {
  flips({ rate, seed, frames, width }) {
    return { flipped: Array.from(draws(seed, "bits", frames * width), draw => draw < rate), lost: new Array(frames).fill(false) };
  },
  bursts({ rate, seed, frames, width, burst }) {
    const bad = badStates(draws(seed, "states", frames * width), rate / BAD_ERROR_RATE, burst);
    const wrong = draws(seed, "bits", frames * width);
    return { flipped: bad.map((state, place) => state && wrong[place] < BAD_ERROR_RATE), lost: new Array(frames).fill(false) };
  },
  packets({ rate, seed, frames, width, packet }) {
    const random = draws(seed, "packets", Math.ceil(frames / packet));
    const lost = Array.from({ length: frames }, (_, frame) => random[Math.floor(frame / packet)] < rate);
    return { flipped: new Array(frames * width).fill(false), lost };
  },
};

// What arrives of codes [K, F]: codes and erasures for the decoder, the bits sent and received, and what was done to them.
// A lost frame is left out ("zero": each of its codes is erased) or repeats the last frame that arrived ("repeat").
function transmit(codes, { widths, sizes }, { channel, rate, seed, burst, packet, concealment }) {
  const width = widths.reduce((sum, bits) => sum + bits, 0);
  const frames = codes.length / widths.length;
  const sent = codesToBits(codes, widths);
  const { flipped, lost } = channels[channel]({ rate, seed, frames, width, burst, packet });
  const received = sent.map((bit, place) => bit ^ flipped[place]);
  const found = bitsToCodes(received, widths, sizes);
  let last = -1;
  for (let frame = 0; frame < frames; frame++) {
    if (!lost[frame]) { last = frame; continue; }
    for (let k = 0; k < widths.length; k++) {
      const repeats = concealment === "repeat" && last >= 0;
      found.erased[k * frames + frame] = repeats ? found.erased[k * frames + last] : true;
      found.codes[k * frames + frame] = repeats ? found.codes[k * frames + last] : 0;
    }
  }
  return { ...found, sent, received, flipped, lost, frames, width };
}

// What the channel did, in numbers.
function counts({ flipped, lost, frames, width }) {
  let bits = 0;
  let hit = 0;
  for (let frame = 0; frame < frames; frame++) {
    let wrong = 0;
    for (let place = 0; place < width; place++) wrong += flipped[frame * width + place];
    bits += wrong;
    hit += wrong > 0;
  }
  return { bits, hit, lost: lost.filter(Boolean).length };
}
