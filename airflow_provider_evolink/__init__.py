"""Apache Airflow provider for EvoLink."""

__version__ = "0.1.0"
