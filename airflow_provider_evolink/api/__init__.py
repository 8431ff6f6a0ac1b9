"""EvoLink over HTTP. Knows nothing of Airflow."""
