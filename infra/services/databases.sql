-- Both keep their migrations in a table of the same name, so each has a database of its own.
CREATE DATABASE mlflow;
