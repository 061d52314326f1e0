"""Sound: files of any kind as samples, resampling, and who speaks when."""
