"""The Codec Avatar Body: skeleton, texture-space tools, networks, and the drawn person."""
