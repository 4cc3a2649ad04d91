"""One file with all that a site without network needs: wheels, weights, settings, units and dashboards, with checksums.

`whisper-fleet bundle make` calls making.py on a machine with network; install.py installs on one without. install.py
is also copied into the bundle, so it uses nothing but Python's standard library.
"""
