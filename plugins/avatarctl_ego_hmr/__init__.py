"""ego-hmr: people seen by a head-mounted camera, in their scene (EgoHMR, ICCV 2023)."""
