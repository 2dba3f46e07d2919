// Spectrograms by short-time Fourier transforms, in decibels. No DOM in here.

// In-place transform of 2^m complex numbers (Cooley and Tukey 1965).
function fft(real, imaginary) {
  const size = real.length;
  for (let place = 1, other = 0; place < size; place++) {
    let bit = size >> 1;
    for (; other & bit; bit >>= 1) other ^= bit;
    other ^= bit;
    if (place < other) {
      [real[place], real[other]] = [real[other], real[place]];
      [imaginary[place], imaginary[other]] = [imaginary[other], imaginary[place]];
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const cosine = Math.cos(Math.PI * k / half);
      const sine = -Math.sin(Math.PI * k / half);
      for (let first = k; first < size; first += 2 * half) {
        const second = first + half;
        const re = cosine * real[second] - sine * imaginary[second];
        const im = sine * real[second] + cosine * imaginary[second];
        real[second] = real[first] - re;
        imaginary[second] = imaginary[first] - im;
        real[first] += re;
        imaginary[first] += im;
      }
    }
  }
}

const WINDOW = 512; // samples: 32 ms at 16 kHz
const HANN = Float64Array.from({ length: WINDOW }, (_, n) => 0.5 - 0.5 * Math.cos(2 * Math.PI * n / WINDOW));

// Decibels [columns][WINDOW / 2] of a signal, from low to high frequencies; a sine of full scale has 0 dB.
function spectrogram(samples, columns) {
  const real = new Float64Array(WINDOW);
  const imaginary = new Float64Array(WINDOW);
  return Array.from({ length: columns }, (_, column) => {
    const start = Math.round((column + 0.5) * samples.length / columns) - WINDOW / 2;
    for (let n = 0; n < WINDOW; n++) real[n] = HANN[n] * (samples[start + n] ?? 0);
    imaginary.fill(0);
    fft(real, imaginary);
    const found = new Float32Array(WINDOW / 2);
    for (let k = 0; k < WINDOW / 2; k++) {
      found[k] = 10 * Math.log10((real[k] ** 2 + imaginary[k] ** 2) * (4 / WINDOW) ** 2 + 1e-12);
    }
    return found;
  });
}
