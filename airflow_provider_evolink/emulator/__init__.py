"""
A local EvoLink over real HTTP, for trying things out and for tests, without paying.

It is written from the API's documentation alone: nothing here imports the rest of this package, so a misreading of the
API on one side shows up as a failure on the other. Start it with ``python -m airflow_provider_evolink.emulator`` or, in
tests, with ``airflow_provider_evolink.emulator.server.EmulatorServer``.
"""
