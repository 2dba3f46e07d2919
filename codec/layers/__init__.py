"""Building blocks of encoders and decoders: activations, attention, convolution blocks, spectra."""
