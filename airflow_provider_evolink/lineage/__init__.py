"""What a task tells Airflow about the media it used and made: asset events, and OpenLineage. Nothing secret."""
