"""The networks: mapping, tri-planes, decoder, rendering, super-resolution, discriminators."""
