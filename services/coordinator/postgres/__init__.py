"""PostgreSQL: the pool, the queries, the schema, leadership."""

__all__: list[str] = []
