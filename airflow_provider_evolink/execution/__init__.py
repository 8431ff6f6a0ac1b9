"""What a task does on the worker. Imported when a task runs, never when a DAG file is parsed."""
