"""The provider in Airflow's UI, from Airflow 3.1."""
