"""The networks: pure specs, arithmetic over them and the papers' rows without torch; torch modules in `build.py`."""
