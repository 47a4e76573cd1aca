"""Published systems, one module each, by domain; backbones in `keras.ops` alone."""
