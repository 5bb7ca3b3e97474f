"""PostgreSQL: the pool, the queries, the schema, leadership."""
