"""Made-up recordings in EgoBody's layout, from what is embedded: open bodies, clips and an office scan."""
