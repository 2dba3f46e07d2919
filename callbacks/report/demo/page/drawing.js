// The pictures: waveforms, spectrograms and the bits, all over one time axis and in the colours of the page.
const LOWEST = -85; // dB, of the spectrograms' paper
const HIGHEST = -15;

// A canvas as wide as its place, in device pixels.
function canvasOf(id) {
  const canvas = find(id);
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const [width, height] = [Math.max(1, Math.round(canvas.clientWidth * ratio)), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// A colour of the style sheet as [red, green, blue].
function colour(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [1, 3, 5].map(place => parseInt(text.slice(place, place + 2), 16));
}

const css = name => `rgb(${colour(name).join(" ")})`;

// A waveform, `peak` at the edges; both of a page have that of the original, so that their levels compare.
function drawWave(id, samples, peak) {
  const { context, width, height } = canvasOf(id);
  context.fillStyle = css("line");
  context.fillRect(0, Math.floor(height / 2), width, 1);
  context.fillStyle = css("wave");
  for (let column = 0; column < width; column++) {
    const [first, last] = [column, column + 1].map(edge => Math.floor(edge * samples.length / width));
    let [low, high] = [0, 0];
    for (let n = first; n < last; n++) { low = Math.min(low, samples[n]); high = Math.max(high, samples[n]); }
    const [top, bottom] = [high, low].map(value => (1 - Math.max(-1, Math.min(1, value / (peak || 1)))) * height / 2);
    context.fillRect(column, top, 1, Math.max(1, bottom - top));
  }
}

function drawSpectrum(id, samples) {
  const { context, width, height } = canvasOf(id);
  const stops = ["paper", "low", "middle", "high"].map(colour);
  const table = Array.from({ length: 256 }, (_, level) => {
    const place = level / 255 * (stops.length - 1);
    const stop = Math.min(Math.floor(place), stops.length - 2);
    return stops[stop].map((value, channel) => value + (place - stop) * (stops[stop + 1][channel] - value));
  });
  const image = context.createImageData(width, height);
  spectrogram(samples, width).forEach((column, x) => {
    for (let y = 0; y < height; y++) {
      const decibels = column[Math.floor((height - 1 - y) * column.length / height)];
      const level = Math.round(255 * Math.max(0, Math.min(1, (decibels - LOWEST) / (HIGHEST - LOWEST))));
      const at = 4 * (y * width + x);
      [image.data[at], image.data[at + 1], image.data[at + 2]] = table[level];
      image.data[at + 3] = 255;
    }
  });
  context.putImageData(image, 0, 0);
}

// A column a frame, a row a bit, the first bit of the codeword on top; flipped bits and lost frames stand out.
function drawBits(id, { received, flipped, lost, frames, width: rows }, widths) {
  const { context, width, height } = canvasOf(id);
  const edge = (place, count, length) => Math.round(place * length / count);
  const fill = (style, frame, row, high = 1) => {
    const [left, top] = [edge(frame, frames, width), edge(row, rows, height)];
    context.fillStyle = style;
    context.fillRect(left, top, Math.max(1, edge(frame + 1, frames, width) - left), Math.max(1, edge(row + high, rows, height) - top));
  };
  const [zero, one, wrong, gone] = ["paper", "bit", "alarm", "gone"].map(css);
  for (let frame = 0; frame < frames; frame++) {
    if (lost[frame]) { fill(gone, frame, 0, rows); continue; }
    for (let row = 0; row < rows; row++) {
      const place = frame * rows + row;
      fill(flipped[place] ? wrong : received[place] ? one : zero, frame, row);
    }
  }
  context.fillStyle = css("ink");
  let row = 0;
  for (const bits of widths.slice(0, -1)) context.fillRect(0, edge(row += bits, rows, height), width, 1);
}
