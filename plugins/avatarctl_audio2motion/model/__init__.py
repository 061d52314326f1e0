"""The networks: audio front end, lip regressor, denoisers of face and body, residual codec, guide."""
