"""What tests share: a real PostgreSQL, a scripted worker."""
