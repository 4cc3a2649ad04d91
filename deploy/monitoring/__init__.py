"""What Prometheus and Grafana need to watch a fleet; `python -m whisper_fleet.deploy.monitoring` writes dashboards."""
