"""The database schema: migrations, backfill, takeover of an original database."""
