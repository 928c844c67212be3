"""The schema of the database: migrations, backfill, takeover of an original database."""
