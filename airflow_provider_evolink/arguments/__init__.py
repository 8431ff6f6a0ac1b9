"""What a DAG author may write as an argument: one table, used when a DAG file is parsed and when a task runs."""
